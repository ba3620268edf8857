"""Speed and accuracy of a model, measured on this device. Never imports TensorFlow."""
