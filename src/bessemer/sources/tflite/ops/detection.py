"""TFLite_Detection_PostProcess: kept whole, as an operator of our own domain (see passes/composites/detection.py)."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from bessemer.ir.canonical import DOMAIN
from bessemer.ir.layout import identity
from bessemer.passes.composites.detection import OP, Settings
from bessemer.sources.tflite.context import TENSOR_KEY, Context, Unsupported
from bessemer.sources.tflite.flexbuffer import numbers
from bessemer.sources.tflite.registry import op

if TYPE_CHECKING:
    from bessemer.wire.tflite.records import Operator


def settings_of(operator: Operator) -> Settings:
    """The options; raises Unsupported where they are broken or one is missing."""
    try:
        held = numbers(bytes(operator.custom_options or b""))
        return Settings(
            int(held["max_detections"]), int(held["max_classes_per_detection"]),
            int(held.get("detections_per_class", 100)), int(bool(held.get("use_regular_nms", 0))),
            held["nms_score_threshold"], held["nms_iou_threshold"], int(held["num_classes"]),
            held["y_scale"], held["x_scale"], held["h_scale"], held["w_scale"],
        )  # fmt: skip
    except (KeyError, ValueError) as error:
        raise Unsupported("custom-options", f"its options are incomplete or broken: {error}") from error


@op("TFLite_Detection_PostProcess")
def detection(context: Context, operator: Operator) -> None:
    """Operands and results as the composite has them; the file does not know the results' shapes."""
    import onnx_ir

    held = settings_of(operator)
    if held.max_classes_per_detection != 1 and not held.use_regular_nms:
        raise Unsupported("detection-classes", "several classes per box outside of regular suppression")
    if context.static(operator.inputs[0])[0] != 1:
        raise Unsupported("batch", "the operator works on one image")
    if not 0 < held.max_detections <= 1 << 20:
        raise Unsupported("custom-options", f"max_detections is {held.max_detections}")
    operands = [context.value(index) for index in operator.inputs]
    made = context.emit(OP, operands, outputs=4, domain=DOMAIN, dtype=onnx_ir.DataType.FLOAT, **asdict(held))
    most = held.max_detections
    shapes = ((1, most, 4), (1, most), (1, most), (1,))
    for index, value, shape in zip(operator.outputs, made, shapes, strict=True):
        context.result(index, value, identity(context.rank(index)))
        placed = context.value(index)
        placed.shape = onnx_ir.Shape(shape)  # the file has none: the runtime sets it
        placed.meta[TENSOR_KEY] = (context.name(index), identity(len(shape)))
