"""The workstation trains: photographs in, a run folder with a Keras model out."""
