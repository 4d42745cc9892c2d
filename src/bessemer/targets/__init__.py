"""Places where models run. One package per target; entries are listed without importing them."""

from __future__ import annotations

from bessemer.targets.base import TargetEntry


def _is_ort_flatbuffer(head: bytes) -> bool:
    return head[4:8] == b"ORTM"


TARGETS: tuple[TargetEntry, ...] = (
    TargetEntry(
        name="onnx",
        title="ONNX file",
        module="bessemer.targets.onnx.target",
        summary="A portable .onnx file at a chosen opset.",
        precisions=("float32", "float16", "bfloat16", "mixed", "int8", "int16x8"),
        suffix=".onnx",
        runtime="ONNX Runtime (the standard's reference evaluator where it has no kernel)",
        extra="ort",
        run="bessemer.targets.onnx.run",
        warm=("bessemer.executors", "bessemer.targets.onnx.run", "bessemer.runners.onnx_reference", "onnxruntime"),
    ),
    TargetEntry(
        name="ort",
        title="ONNX Runtime",
        module="bessemer.targets.ort.target",
        summary="A graph optimised offline by ONNX Runtime, as .onnx or .ort.",
        precisions=("float32", "float16", "int8", "int16x8"),
        suffix=".onnx",
        runtime="ONNX Runtime",
        extra="ort",
        run="bessemer.targets.ort.run",
        warm=("bessemer.executors", "bessemer.targets.ort.run", "onnxruntime"),
        sniff=_is_ort_flatbuffer,
        runs="onnx",
    ),
    TargetEntry(
        name="tflite",
        title="TFLite / LiteRT",
        module="bessemer.targets.tflite.target",
        summary="A .tflite flatbuffer, written directly from the schema.",
        precisions=("float32", "float16", "int8", "int16x8", "int8x4", "int8-dynamic"),
        suffix=".tflite",
        runtime="LiteRT",
        extra="tflite",
        run="bessemer.targets.tflite.run",
        warm=("bessemer.executors", "bessemer.targets.tflite.run", "ai_edge_litert.interpreter"),
    ),
)
