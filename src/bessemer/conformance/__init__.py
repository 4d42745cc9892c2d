"""The ONNX standard's own node tests through a target: converted, executed in its runtime, compared.

Each target's `gaps.toml` lists what is declined and why; a wrong result is never acceptable; closing a gap deletes a line.
"""
