"""TensorFlow graphs executed: by TensorFlow itself, or by a reference evaluator in numpy."""
