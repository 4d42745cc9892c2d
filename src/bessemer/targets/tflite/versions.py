"""Operator versions: the oldest one whose kernel has what an operator uses.

Source: the rules in tensorflow/lite/tools/versioning/op_version.cc, as far as they concern what is
written here.
"""

from __future__ import annotations

from bessemer.targets.tflite.builder import Op, Subgraph

INT8_SINCE = {
    "CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 4, "ADD": 2, "SUB": 2, "MUL": 2,
    "AVERAGE_POOL_2D": 2,
    "MAX_POOL_2D": 2, "CONCATENATION": 2, "RELU": 2, "RELU6": 2, "LOGISTIC": 2, "TANH": 2, "SOFTMAX": 2,
    "LOG_SOFTMAX": 2, "PAD": 2, "PADV2": 2, "MEAN": 2, "SUM": 2, "TRANSPOSE": 2, "RESIZE_BILINEAR": 2,
    "RESIZE_NEAREST_NEIGHBOR": 2, "GATHER": 2, "SLICE": 2, "STRIDED_SLICE": 2, "SPLIT": 2, "SPLIT_V": 2,
    "SPACE_TO_DEPTH": 2, "MAXIMUM": 2, "MINIMUM": 2, "ARG_MAX": 2, "ARG_MIN": 2, "TOPK_V2": 2, "PACK": 2,
    "EQUAL": 2, "NOT_EQUAL": 2, "LESS": 2, "LESS_EQUAL": 2, "GREATER": 2, "GREATER_EQUAL": 2, "SELECT": 2,
    "L2_NORMALIZATION": 2, "BATCH_TO_SPACE_ND": 2, "SPACE_TO_BATCH_ND": 2, "TRANSPOSE_CONV": 2,
    "LEAKY_RELU": 2,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": 2, "BATCH_MATMUL": 2, "DEQUANTIZE": 2, "QUANTIZE": 1,
}  # fmt: skip
FLOOR = {"BROADCAST_TO": 2, "BROADCAST_ARGS": 1, "GELU": 1}


def version_of(op: Op, subgraph: Subgraph) -> int:
    """The version to write in the operator's code."""
    types = {subgraph.tensors[index].type for index in op.inputs if index >= 0}
    version = FLOOR.get(op.code, 1)
    if "INT8" in types:
        version = max(version, INT8_SINCE.get(op.code, 1))
    if op.code == "DEQUANTIZE" and "FLOAT16" in types:
        version = 3
    if op.code == "FULLY_CONNECTED":
        version = max(
            version, 5 if op.options.get("keep_num_dims") else 1, 6 if op.inputs[2:] in ([], [-1]) else 1
        )
    if op.code == "UNIDIRECTIONAL_SEQUENCE_LSTM" and op.options.get("asymmetric_quantize_inputs"):
        version = 3
    if op.code == "TRANSPOSE_CONV" and len(op.inputs) == 4:
        version = 4 if op.options.get("fused_activation_function") else 3
    return version
