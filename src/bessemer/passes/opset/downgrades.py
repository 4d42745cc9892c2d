"""New meanings in old words, or the reason why there are none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.types import Array, int64s
from bessemer.passes.opset.registry import (
    around,
    downgrade,
    input_to_attribute,
    pop,
    put,
    set_input,
    take_over,
)
from bessemer.passes.opset.upgrades import REDUCTIONS
from bessemer.passes.rewrite import constant, make_constant, owner

if TYPE_CHECKING:
    import onnx_ir


@downgrade(13, "Squeeze", "Unsqueeze", "ReduceSum")
@downgrade(18, *REDUCTIONS)
def axes_attribute(node: onnx_ir.Node) -> str:
    """axes is an attribute; an empty list meant all or nothing by a flag that did not exist."""
    noop = pop(node, "noop_with_empty_axes")
    axes = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    empty = len(node.inputs) < 2 or node.inputs[1] is None or (axes is not None and axes.size == 0)
    if noop and empty:
        return "noop_with_empty_axes does not exist there"
    if empty and node.op_type in (*REDUCTIONS, "ReduceSum"):
        node.resize_inputs(1)  # no axes: all of them, as it has always been
    return input_to_attribute(node, 1, "axes")


@downgrade(11, "Squeeze", "Unsqueeze", "ReduceSum", *REDUCTIONS)
def positive_axes(node: onnx_ir.Node) -> str:
    """Negative axes came with opset 11: count them from the front."""
    axes, source = node.attributes.get_ints("axes", None), node.inputs[0]
    if axes is None or min(axes, default=0) >= 0:
        return ""
    if source is None or source.shape is None:
        return "its rank is unknown and its axes negative"
    rank = len(source.shape) + (len(axes) if node.op_type == "Unsqueeze" else 0)
    put(node, axes=[axis % rank for axis in axes])
    return ""


@downgrade(8, "Max", "Mean", "Min", "Sum")
def same_shapes(node: onnx_ir.Node) -> str:
    """They do not broadcast there."""
    shapes = [[] if value is None or value.shape is None else _named(value.shape) for value in node.inputs]
    known = all(value is not None and value.shape is not None for value in node.inputs)
    alike = known and all(None not in shape and shape == shapes[0] for shape in shapes)
    return "" if alike or len(shapes) == 1 else "its inputs may broadcast, which came later"


def _named(shape: onnx_ir.Shape) -> list[int | str | None]:
    """Sizes or the names of those that are not bound; None where there is no name."""
    return [dim if isinstance(dim, int) else dim.value for dim in shape]


@downgrade(11, "ArgMax", "ArgMin", "Compress", "Concat", "Flatten", "Gather", "Split")
def positive_axis(node: onnx_ir.Node) -> str:
    """A negative axis came with opset 11: count it from the front."""
    axis, source = node.attributes.get_int("axis", 0) or 0, node.inputs[0]
    if axis >= 0:
        return ""
    if source is None or source.shape is None:
        return "its rank is unknown and its axis negative"
    put(node, axis=axis % len(source.shape))
    return ""


@downgrade(13, "Split")
def split_attribute(node: onnx_ir.Node) -> str:
    """Sizes are an attribute."""
    return input_to_attribute(node, 1, "split")


@downgrade(18, "Split")
def split_count(node: onnx_ir.Node) -> str:
    """Parts of equal size need no number; unequal ones need their sizes."""
    count = pop(node, "num_outputs")
    source = node.inputs[0]
    axis = node.attributes.get_int("axis", 0) or 0
    size = source.shape[axis] if source is not None and source.shape is not None else None
    if count is None:
        return ""
    if not isinstance(size, int):
        return "the size of its axis is unbound"
    if size % count:
        part = -(-size // count)
        sizes = [part] * (count - 1)
        set_input(node, 1, int64s([*sizes, size - sum(sizes)]), "split")
    return ""


@downgrade(11, "Clip")
def clip(node: onnx_ir.Node) -> str:
    """Bounds are attributes."""
    if (
        node.inputs[0] is not None
        and node.inputs[0].dtype is not None
        and node.inputs[0].dtype.numpy().kind in "iu"
    ):
        return "integers cannot be clipped there"
    reason = input_to_attribute(node, 2, "max", scalar=True)
    reason = reason or input_to_attribute(node, 1, "min", scalar=True)
    if not reason:
        node.resize_inputs(1)
    return reason


@downgrade(10, "Slice")
def slice_attributes(node: onnx_ir.Node) -> str:
    """starts, ends and axes are attributes; there are no steps."""
    steps = constant(node.inputs[4]) if len(node.inputs) > 4 else None
    if len(node.inputs) > 4 and node.inputs[4] is not None:
        if steps is None or (steps != 1).any():
            return "it has steps"
        node.resize_inputs(4)
    reasons = [
        input_to_attribute(node, place, name) for place, name in ((3, "axes"), (2, "ends"), (1, "starts"))
    ]
    return next(filter(None, reasons), "")


@downgrade(18, "Pad")
def pad_axes(node: onnx_ir.Node) -> str:
    """Pads count for all axes."""
    if len(node.inputs) < 4 or node.inputs[3] is None:
        node.resize_inputs(min(len(node.inputs), 3))
        return ""
    axes, pads, source = constant(node.inputs[3]), constant(node.inputs[1]), node.inputs[0]
    if axes is None or pads is None or source is None or source.shape is None:
        return "its axes or pads are computed"
    full = np.zeros((2, len(source.shape)), np.int64)
    full[:, [int(axis) for axis in axes]] = pads.reshape(2, -1)
    node.resize_inputs(3)
    set_input(node, 1, full.reshape(-1), "pads")
    return ""


@downgrade(19, "Pad")
def pad_wrap(node: onnx_ir.Node) -> str:
    """mode wrap is new."""
    return "mode wrap does not exist there" if node.attributes.get_string("mode", "") == "wrap" else ""


@downgrade(11, "Pad")
def pad_attributes(node: onnx_ir.Node) -> str:
    """pads and value are attributes."""
    reason = input_to_attribute(node, 2, "value", scalar=True)
    if "value" in node.attributes:
        put(node, value=float(pop(node, "value")))
    return reason or input_to_attribute(node, 1, "pads")


@downgrade(13, "Softmax", "LogSoftmax", "Hardmax")
def softmax(node: onnx_ir.Node) -> str:
    """There it works on everything from `axis` on: another axis is moved to the end first."""
    source = node.inputs[0]
    if source is None or source.shape is None:
        return "its rank is unknown"
    rank = len(source.shape)
    axis = (pop(node, "axis") if "axis" in node.attributes else -1) % max(rank, 1)
    put(node, axis=max(rank - 1, 0))
    if axis == rank - 1 or rank == 0:
        return ""
    perm = [item for item in range(rank) if item != axis] + [axis]
    moved = around(node, "Transpose", [source], perm=perm)
    moved.shape = None
    node.replace_input_with(0, moved)
    back = around(
        node, "Transpose", [node.outputs[0]], after=True, perm=[perm.index(item) for item in range(rank)]
    )
    take_over(node, 0, back)
    return ""


@downgrade(10, "TopK")
def top_k(node: onnx_ir.Node) -> str:
    """k is an attribute."""
    return input_to_attribute(node, 1, "k", scalar=True)


@downgrade(11, "TopK")
def top_k_order(node: onnx_ir.Node) -> str:
    """Only the largest, sorted."""
    if pop(node, "largest") == 0:
        return "it takes the smallest"
    pop(node, "sorted")
    return ""


@downgrade(11, "Resize")
def resize(node: onnx_ir.Node) -> str:
    """Only asymmetric pixels with floor, by scales."""
    mode = node.attributes.get_string("coordinate_transformation_mode", "half_pixel")
    nearest = node.attributes.get_string("nearest_mode", "round_prefer_floor")
    kind = node.attributes.get_string("mode", "nearest")
    scales = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if scales is None or scales.size == 0:
        scales = _scales_of(node)
    whole = scales is not None and bool(np.all(scales == np.round(scales)))
    same = mode == "asymmetric" or (kind == "nearest" and whole and mode == "half_pixel")
    if kind not in ("nearest", "linear") or scales is None or not same:
        return f"mode {kind} with {mode} pixels does not exist there"
    if kind == "nearest" and nearest != "floor" and not whole:
        return f"nearest_mode {nearest} does not exist there"
    for name in list(node.attributes):
        if name != "mode":
            pop(node, name)
    node.resize_inputs(2)
    set_input(node, 1, scales.astype(np.float32), "scales")
    return ""


@downgrade(10, "Resize")
def upsample(node: onnx_ir.Node) -> str:
    """Called Upsample, which only enlarges."""
    scales = constant(node.inputs[1])
    if scales is None or (scales < 1).any():
        return "its scales are computed or reduce"
    node.op_type = "Upsample"
    return ""


@downgrade(9, "Upsample")
def upsample_scales(node: onnx_ir.Node) -> str:
    """Scales are an attribute."""
    return input_to_attribute(node, 1, "scales")


@downgrade(13, "Resize")
def resize_blank_inputs(node: onnx_ir.Node) -> str:
    """roi and scales may not be left out: an empty tensor stands for none."""
    node.resize_inputs(max(len(node.inputs), 3))
    for place, name in ((1, "roi"), (2, "scales")):
        if node.inputs[place] is None:
            set_input(node, place, np.zeros(0, np.float32), name)
    return ""


def _scales_of(node: onnx_ir.Node) -> Array | None:
    from bessemer.passes.rewrite import dims

    before, after = dims(node.inputs[0]), dims(node.outputs[0])
    if before is None or after is None or any(size == 0 for size in before):
        return None
    return np.array([new / old for new, old in zip(after, before, strict=True)], np.float32)


@downgrade(18, "Resize")
def resize_axes(node: onnx_ir.Node) -> str:
    """No axes, no antialias, no aspect policy; sizes of the last axes go behind the operand's own first ones."""
    policy = node.attributes.get_string("keep_aspect_ratio_policy", "stretch")
    if node.attributes.get_int("antialias", 0) or policy != "stretch":
        return "antialias or an aspect policy does not exist there"
    if "axes" in node.attributes and not _all_sizes(node):
        return "axes do not exist there"
    pop(node, "antialias")
    pop(node, "keep_aspect_ratio_policy")
    return ""


def _all_sizes(node: onnx_ir.Node) -> bool:
    """Give sizes of the last axes for all of them; False where other axes are meant, or scales."""
    import onnx_ir

    source, axes = node.inputs[0], node.attributes.get_ints("axes", [])
    sizes = node.inputs[3] if len(node.inputs) > 3 else None
    rank = None if source is None or source.shape is None else len(source.shape)
    if rank is None or sizes is None or [axis % rank for axis in axes] != list(range(rank - len(axes), rank)):
        return False
    graph, kind = owner(node), onnx_ir.DataType.INT64
    bounds = [make_constant(graph, int64s([at]), "bound") for at in (0, rank - len(axes))]
    made = [onnx_ir.node("Shape", [source])]
    made.append(onnx_ir.node("Slice", [made[0].outputs[0], *bounds]))
    made.append(onnx_ir.node("Concat", [made[1].outputs[0], sizes], attributes={"axis": 0}))
    for number, part in enumerate(made):
        part.outputs[0].name, part.outputs[0].type = f"{node.name}/sizes_{number}", onnx_ir.TensorType(kind)
        graph.insert_before(node, part)
    node.replace_input_with(3, made[-1].outputs[0])
    pop(node, "axes")
    return True


@downgrade(19, "Resize")
def resize_symmetric(node: onnx_ir.Node) -> str:
    """half_pixel_symmetric is new."""
    mode = node.attributes.get_string("coordinate_transformation_mode", "half_pixel")
    return "half_pixel_symmetric does not exist there" if mode == "half_pixel_symmetric" else ""


@downgrade(14, "Reshape")
def reshape(node: onnx_ir.Node) -> str:
    """Zero copies a dim."""
    target = constant(node.inputs[1])
    if pop(node, "allowzero") and (target is None or (target == 0).any()):
        return "allowzero does not exist there"
    return ""


@downgrade(15, "Shape")
def shape(node: onnx_ir.Node) -> str:
    """The whole shape: a part is sliced out of it."""
    start, end = pop(node, "start"), pop(node, "end")
    if not start and end is None:
        return ""
    far = int(np.iinfo(np.int64).max)
    from bessemer.passes.rewrite import make_constant, owner

    bounds = [
        make_constant(owner(node), int64s([value]), f"{node.outputs[0].name}_{name}")
        for name, value in (("start", start or 0), ("end", far if end is None else end))
    ]
    take_over(node, 0, around(node, "Slice", [node.outputs[0], *bounds], after=True))
    return ""


@downgrade(20, "GridSample")
def grid_sample(node: onnx_ir.Node) -> str:
    """Modes had other names; only images."""
    names = {"linear": "bilinear", "cubic": "bicubic"}
    mode = node.attributes.get_string("mode", "linear") or "linear"
    source = node.inputs[0]
    if source is None or source.shape is None or len(source.shape) != 4:
        return "only 4-D inputs exist there"
    put(node, mode=names.get(mode, mode))
    return ""


@downgrade(20, "DFT")
def dft(node: onnx_ir.Node) -> str:
    """axis is an attribute with another default."""
    if len(node.inputs) < 3 or node.inputs[2] is None:
        axis: Array | None = int64s([-2])
    else:
        axis = constant(node.inputs[2])
    source = node.inputs[0]
    if axis is None or source is None or source.shape is None:
        return "its axis is computed or its rank unknown"
    node.resize_inputs(min(len(node.inputs), 2))
    put(node, axis=int(axis.reshape(-1)[0]) % len(source.shape))
    return ""


@downgrade(14, "BatchNormalization")
def batch_norm(node: onnx_ir.Node) -> str:
    """Inference is how it has always been."""
    return "training mode does not exist there" if pop(node, "training_mode") else ""


@downgrade(12, "Dropout")
def dropout(node: onnx_ir.Node) -> str:
    """The ratio is an attribute and means nothing in inference, the only mode there is."""
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        training = constant(node.inputs[2])
        if training is None or training.any():
            return "its training mode does not exist there"
    if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        return "its mask is not defined in inference there"
    node.resize_outputs(1)
    pop(node, "seed")
    node.resize_inputs(1)
    return ""


@downgrade(11, "Gemm")
def gemm_bias(node: onnx_ir.Node) -> str:
    """C is not optional: zero stands for none."""
    source = node.inputs[0]
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        return ""
    if source is None or source.dtype is None:
        return "the type of the bias it needs is unknown"
    set_input(node, 2, np.zeros(1, source.dtype.numpy()), "zero")
    return ""


@downgrade(13, "QuantizeLinear", "DequantizeLinear")
def quantize_per_tensor(node: onnx_ir.Node) -> str:
    """One scale for the whole tensor; the axis says nothing then."""
    scale = node.inputs[1]
    if scale is None or scale.shape is None:
        return "the shape of its scale is unknown, and one per channel does not exist there"
    if any(size != 1 for size in scale.shape):
        return "a scale per channel does not exist there"
    pop(node, "axis")
    return ""


@downgrade(16, "RoiAlign")
def roi_align(node: onnx_ir.Node) -> str:
    """Only output_half_pixel."""
    mode = pop(node, "coordinate_transformation_mode") or "half_pixel"
    return "" if mode == "output_half_pixel" else f"{mode} pixels do not exist there"


@downgrade(11, "ScatterElements")
def scatter(node: onnx_ir.Node) -> str:
    """Called Scatter."""
    if node.attributes.get_string("reduction", "none") != "none":
        return "reduction does not exist there"
    pop(node, "reduction")
    node.op_type = "Scatter"
    return ""
