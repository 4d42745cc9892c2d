"""Keras models: config and weights rebuilt as a canonical graph."""
