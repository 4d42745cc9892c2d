"""TensorFlow operators in numpy: what a graph computes, without TensorFlow and without the canonical graph."""
