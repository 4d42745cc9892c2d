"""TFLite_Detection_PostProcess: LiteRT's own operator, for models that came with it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from bessemer.ir.canonical import DOMAIN
from bessemer.passes.composites.detection import OP, Settings
from bessemer.targets.tflite.builder import Op
from bessemer.targets.tflite.context import Context
from bessemer.targets.tflite.ops.common import value
from bessemer.targets.tflite.registry import lower

if TYPE_CHECKING:
    import onnx_ir as ir


def integers(ctx: Context, node: ir.Node) -> bool:
    """Its integer kernel reads UINT8 only, for all three operands."""
    encodings = [ctx.encoding(item) for item in node.inputs]
    return all(item is not None and item.dtype == "UINT8" and item.per_tensor for item in encodings)


@lower(OP, domain=DOMAIN, integer=integers)
def detection(ctx: Context, node: ir.Node) -> None:
    """As it is; the results are float and the last places, past the count, are what the runtime leaves there."""
    from flatbuffers import flexbuffers

    held = asdict(Settings.of(node))
    held["use_regular_nms"] = bool(held["use_regular_nms"])
    inputs = [ctx.tensor(value(node, place)) for place in range(3)]
    outputs = [ctx.out(result) for result in node.outputs]
    ctx.sub.ops.append(
        Op(
            "CUSTOM", inputs, outputs,
            custom_code="TFLite_Detection_PostProcess", custom_options=bytes(flexbuffers.Dumps(held)),
        )
    )  # fmt: skip
