"""The workstation exports: a Keras model in, one proven .tflite file out."""
