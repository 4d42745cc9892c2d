"""Readers of TensorFlow operators, by family. Each takes a canvas, a node and its operands, and draws the result."""
