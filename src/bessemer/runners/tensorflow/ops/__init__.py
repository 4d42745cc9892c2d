"""Evaluators of TensorFlow operators in numpy, by family."""
