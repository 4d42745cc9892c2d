"""A realistic Evidence: one row of every kind."""

from __future__ import annotations

import pytest

from bessemer.verify import evidence as ev

HASH = "9f2c1e0b7a5d4c3382716f5e4d3c2b1a09f8e7d6c5b4a3928170615243342516"


def verified(target: str = "onnx", precision: str = "float32") -> ev.TargetEvidence:
    """A row that held its bound."""
    return ev.TargetEvidence(
        target=target,
        precision=precision,
        options={"opset": "12", "precision": precision, "external_data": "False", "io": "original"},
        status="executed",
        verified=True,
        summary="Executed in ONNX Runtime 1.31.1: every output within close(0.0001, 0.0001).",
        runtime="ONNX Runtime 1.31.1",
        reference="ONNX Runtime 1.31.1",
        bound="close(0.0001, 0.0001)",
        input_sets=[
            f"{kind}, seed 0, shapes 1x3x224x224" for kind in ("normal values", "unit range", "extremes")
        ],
        outputs=[
            ev.OutputCloseness(
                name="logits", max_abs=3.8e-06, max_rel=4.1e-07, snr=127.4, top1=1.0, within=True
            ),
            ev.OutputCloseness(name="features", max_abs=0.0, max_rel=0.0, snr=None, within=True),
        ],
        accuracy=ev.Accuracy(samples=500, original=0.714, artifact=0.714),
        borders=[
            ev.Border(
                original="input",
                artifact="input",
                dtype="float32",
                perm=[0, 2, 3, 1],
                changed="axes reordered by [0, 2, 3, 1]",
            ),
            ev.Border(original="logits", artifact="logits", dtype="float32"),
        ],
        notes=["Input 'input_ids' was int64 and is int32 in the artifact."],
        files=[ev.FileRecord(path="mobilenetv2.onnx", bytes=13964571, sha256=HASH)],
        operators={"Conv": 52, "Clip": 35, "Add": 10, "GlobalAveragePool": 1, "Gemm": 1, "Reshape": 1},
        seconds={"prepare": 0.21, "write": 0.08, "verify": 0.94},
        latency={"original": 11.2, "artifact": 9.7},
    )


def failed() -> ev.TargetEvidence:
    """A row that departed from the original."""
    return ev.TargetEvidence(
        target="tflite",
        precision="float16",
        options={"precision": "float16", "io": "nhwc"},
        status="failed",
        verified=False,
        summary="Out of bounds (snr(40)): logits. The first value that departs is 'conv_12_out' (Conv).",
        runtime="LiteRT 2.3.0",
        reference="ONNX Runtime 1.31.1",
        bound="snr(40)",
        input_sets=["normal values, seed 0, shapes 1x3x224x224"],
        outputs=[
            ev.OutputCloseness(name="logits", max_abs=4.71, max_rel=0.38, snr=8.2, top1=0.62, within=False)
        ],
        divergence=ev.Divergence(
            value="conv_12_out", layer="block5/conv", op="Conv", max_abs=65504.0, snr=3.1
        ),
        operators={"CONV_2D": 35, "DEPTHWISE_CONV_2D": 17, "ADD": 10, "MEAN": 1, "FULLY_CONNECTED": 1},
        seconds={"prepare": 0.4, "write": 0.1, "verify": 1.3},
    )


def declined() -> ev.TargetEvidence:
    """A row of blockers."""
    return ev.TargetEvidence(
        target="tflite",
        precision="float32",
        options={"precision": "float32"},
        status="declined",
        verified=False,
        summary="Declined: 2 blockers; nothing was written.",
        blockers=[
            ev.BlockerRecord(
                node="/head/Unique_3",
                op="Unique",
                layer="head.unique",
                rule="tflite.unique.axis",
                reason="LiteRT's UNIQUE takes only flat input, this one has axis=1",
                rewrite="Reshape to rank 1 before Unique",
            ),
            ev.BlockerRecord(
                node="",
                op="ai.onnx.ml.TreeEnsemble",
                layer="",
                rule="tflite.operator.unknown",
                reason="LiteRT has no operator for trees [red]x[/red] <b>bold</b>",
                rewrite="",
            ),
        ],
    )


def evidence(*rows: ev.TargetEvidence) -> ev.Evidence:
    """A whole report over `rows` (default: one of each kind)."""
    tensor = ev.TensorRecord
    return ev.Evidence(
        source=ev.ModelRecord(
            path="models/mobilenetv2.onnx",
            format="onnx",
            bytes=13964571,
            sha256=HASH,
            inputs=[tensor(name="input", dtype="float32", shape=["N", 3, 224, 224])],
            outputs=[
                tensor(name="logits", dtype="float32", shape=["N", 1000]),
                tensor(name="features", dtype="float32", shape=["N", 1280, None, 7]),
            ],
            operators={
                "Conv": 52,
                "BatchNormalization": 52,
                "Clip": 35,
                "Add": 10,
                "GlobalAveragePool": 1,
                "Gemm": 1,
                "Reshape": 1,
                "Shape": 1,
                "Gather": 1,
                "Unsqueeze": 1,
                "Concat": 1,
            },
            nodes=156,
            parameters=3487816,
            macs=300774272,
            weights={"float": 13951264, "int64": 32},
            activations=9633792,
            details={"opset": "ai.onnx 10", "producer": "pytorch 1.3", "ir_version": "5"},
        ),
        passes=[
            ev.PassLine(name="canonicalize", options="opset=26", changed=12, seconds=0.05),
            ev.PassLine(
                name="fold-batch-norm",
                options="",
                changed=52,
                seconds=0.11,
                declined=["block9/bn: its input has two consumers"],
            ),
        ],
        optimized={"Conv": 52, "Clip": 35, "Add": 10, "GlobalAveragePool": 1, "Gemm": 1, "Reshape": 1},
        targets=list(rows) or [verified(), failed(), declined()],
        seconds=3.42,
        peak_bytes=412 * 1024 * 1024,
        manifest=ev.Manifest(
            bessemer="0.1.0",
            command=[
                "bessemer",
                "convert",
                "models/mobilenetv2.onnx",
                "--to",
                "onnx:opset=12",
                "--out",
                "out",
            ],
            inputs=[ev.FileRecord(path="models/mobilenetv2.onnx", bytes=13964571, sha256=HASH)],
            options={"seed": "0", "level": "2"},
            versions={"python": "3.11.9", "onnx": "1.23.2", "numpy": "2.4.0", "onnxruntime": "1.31.1"},
        ),
    )


@pytest.fixture
def sample() -> ev.Evidence:
    """One row of every kind."""
    return evidence()


@pytest.fixture
def good() -> ev.Evidence:
    """A single verified row."""
    return evidence(verified())
