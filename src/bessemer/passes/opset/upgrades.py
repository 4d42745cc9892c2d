"""Old meanings in new words. The version is the opset at which the operator changed (ONNX changelog)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.types import Array
from bessemer.passes.opset.registry import (
    around,
    attribute_to_input,
    pop,
    put,
    set_input,
    take_over,
    upgrade,
)

if TYPE_CHECKING:
    import onnx_ir

REDUCTIONS = (
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin",
    "ReduceProd", "ReduceSumSquare",
)  # fmt: skip


def _kind(node: onnx_ir.Node) -> type:
    value = node.inputs[0]
    if value is None or value.dtype is None:
        return np.float32
    kind: type = value.dtype.numpy().type
    return kind


@upgrade(9, "Upsample")
def upsample_scales(node: onnx_ir.Node) -> str:
    """Scales became an input."""
    return attribute_to_input(node, "scales", 1, np.float32)


@upgrade(10, "Upsample")
def upsample(node: onnx_ir.Node) -> str:
    """Upsample became Resize."""
    node.op_type = "Resize"
    return ""


@upgrade(11, "Resize")
def resize(node: onnx_ir.Node) -> str:
    """Pixels were placed asymmetrically; nearest took the floor."""
    scales = node.inputs[1]
    node.resize_inputs(3)
    node.replace_input_with(1, None)
    node.replace_input_with(2, scales)
    put(node, coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    return ""


@upgrade(13, "Resize")
def resize_without_nn_mode(node: onnx_ir.Node) -> str:
    """tf_half_pixel_for_nn was dropped."""
    mode = node.attributes.get_string("coordinate_transformation_mode", "half_pixel")
    return (
        "coordinate mode tf_half_pixel_for_nn was dropped in opset 13"
        if mode == "tf_half_pixel_for_nn"
        else ""
    )


@upgrade(11, "Clip")
def clip(node: onnx_ir.Node) -> str:
    """Bounds became inputs."""
    for place, name in ((1, "min"), (2, "max")):
        value = pop(node, name)
        if value is not None:
            set_input(node, place, np.array(value, _kind(node)), name)
    return ""


@upgrade(12, "Dropout")
def dropout(node: onnx_ir.Node) -> str:
    """Inference is the default; the ratio means nothing then."""
    pop(node, "ratio")
    return ""


@upgrade(9, "BatchNormalization")
def batch_norm_spatial(node: onnx_ir.Node) -> str:
    """Per-activation statistics were dropped."""
    return "it normalises each activation by itself (spatial=0)" if pop(node, "spatial") == 0 else ""


@upgrade(14, "BatchNormalization")
def batch_norm(node: onnx_ir.Node) -> str:
    """Outputs past the first were for training only."""
    if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        return "it gives training statistics"
    node.resize_outputs(1)
    return ""


@upgrade(10, "Slice")
def slice_inputs(node: onnx_ir.Node) -> str:
    """starts, ends and axes became inputs."""
    for place, name in ((1, "starts"), (2, "ends"), (3, "axes")):
        attribute_to_input(node, name, place)
    return ""


@upgrade(11, "Pad")
def pad(node: onnx_ir.Node) -> str:
    """pads and value became inputs."""
    attribute_to_input(node, "pads", 1)
    value = pop(node, "value")
    if value is not None and node.attributes.get_string("mode", "constant") == "constant":
        set_input(node, 2, np.array(value, _kind(node)), "value")
    return ""


@upgrade(13, "Squeeze", "Unsqueeze", "ReduceSum")
@upgrade(18, *REDUCTIONS)
def axes_input(node: onnx_ir.Node) -> str:
    """axes became an input."""
    return attribute_to_input(node, "axes", 1)


@upgrade(13, "Split")
def split_input(node: onnx_ir.Node) -> str:
    """Sizes became an input."""
    return attribute_to_input(node, "split", 1)


@upgrade(18, "Split")
def split_count(node: onnx_ir.Node) -> str:
    """Without sizes the number of parts must be said."""
    if len(node.inputs) < 2 or node.inputs[1] is None:
        put(node, num_outputs=len(node.outputs))
    return ""


@upgrade(13, "Softmax", "LogSoftmax", "Hardmax")
def softmax(node: onnx_ir.Node) -> str:
    """It worked on the input flattened to 2-D at `axis` (default 1); the same when only the last axis is left."""
    import onnx_ir

    axis = pop(node, "axis")
    axis = 1 if axis is None else int(axis)
    source = node.inputs[0]
    rank = len(source.shape) if source is not None and source.shape is not None else None
    if axis == -1 or (rank is not None and axis % rank == rank - 1):
        put(node, axis=-1)
        return ""
    if source is None:
        return "it has no input"
    shape = around(node, "Shape", [source])
    shape.type = onnx_ir.TensorType(onnx_ir.DataType.INT64)
    flat = around(node, "Flatten", [source], axis=axis)
    flat.type = source.type
    node.replace_input_with(0, flat)
    put(node, axis=-1)
    back = around(node, "Reshape", [node.outputs[0], shape], after=True)
    take_over(node, 0, back)
    return ""


@upgrade(10, "TopK")
def top_k(node: onnx_ir.Node) -> str:
    """k became an input."""
    value = pop(node, "k")
    set_input(node, 1, np.array([value], np.int64), "k")
    return ""


@upgrade(11, "Scatter")
def scatter(node: onnx_ir.Node) -> str:
    """Renamed."""
    node.op_type = "ScatterElements"
    return ""


@upgrade(16, "RoiAlign")
def roi_align(node: onnx_ir.Node) -> str:
    """The default placement of pixels changed."""
    if "coordinate_transformation_mode" not in node.attributes:
        put(node, coordinate_transformation_mode="output_half_pixel")
    return ""


@upgrade(20, "GridSample")
def grid_sample(node: onnx_ir.Node) -> str:
    """Modes were renamed."""
    names = {"bilinear": "linear", "bicubic": "cubic"}
    mode = node.attributes.get_string("mode", "bilinear") or "bilinear"
    put(node, mode=names.get(mode, mode))
    return ""


@upgrade(20, "DFT")
def dft(node: onnx_ir.Node) -> str:
    """axis became an input, and its default moved from 1 to -2."""
    value = pop(node, "axis")
    set_input(node, 2, np.array(1 if value is None else value, np.int64), "axis")
    return ""


@upgrade(21, "GroupNormalization")
def group_norm(node: onnx_ir.Node) -> str:
    """Scale and bias were per group, now per channel."""
    from bessemer.passes.rewrite import constant

    shape = node.inputs[0].shape if node.inputs[0] is not None else None
    channels = shape[1] if shape is not None else None
    if not isinstance(channels, int):
        return "its number of channels is unbound"
    groups = node.attributes.get_int("num_groups", 1) or 1
    for place in (1, 2):
        array = constant(node.inputs[place], limit=1 << 24)
        if array is None:
            return "its scale or bias is computed"
        set_input(node, place, _repeat(array, channels // groups), "per_channel")
    return ""


def _repeat(array: Array, count: int) -> Array:
    return np.repeat(array, count)


@upgrade(9, "Scan")
def scan(node: onnx_ir.Node) -> str:
    """Opset 8 scanned batches of sequences."""
    return "Scan of opset 8 works on batches and has no later form"
