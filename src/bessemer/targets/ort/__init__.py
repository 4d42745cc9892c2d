"""ONNX Runtime's own offline optimisation as a target."""
