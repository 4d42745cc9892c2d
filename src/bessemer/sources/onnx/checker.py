"""The onnx package's checker: structure, attributes, and types and shapes by strict inference."""

from __future__ import annotations

from pathlib import Path


def refusal(path: Path) -> str:
    """The first line of what it says against a file; empty when it says nothing."""
    import onnx

    try:
        onnx.checker.check_model(path, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return f"onnx.checker: {lines[0][:300]}" if lines else "onnx.checker refuses it"
    return ""
