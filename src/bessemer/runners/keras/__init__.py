"""Keras layers in plain NumPy: an independent reading of the same configs and weights."""
