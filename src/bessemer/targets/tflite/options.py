"""Options of the TFLite target."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

STEPS = 1024
"""Steps of a recurrence that are unrolled at most: each is a dozen operators."""
LOOPED = 128
"""Steps from which on a loop is the better form of a recurrence in floats. One thread, an LSTM of 128 units: of 30
steps 0.15 ms unrolled against 0.17 ms, of 200 steps 3.8 ms against 1.9 ms (every step packs its own copy of the
weights), and the file holds 30 operators instead of 2406."""


class TFLiteOptions(BaseModel):
    """What a caller may ask of a .tflite file; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    precision: Literal["float32", "float16", "int8", "int16x8", "int8x4", "int8-dynamic"] = Field(
        "float32",
        description="float16 stores float weights in half precision, arithmetic stays float32; int8: weights and "
        "activations in integers, from calibration data; int16x8: activations in 16 bits; int8x4: weights in 4 bits; "
        "int8-dynamic: weights in 8 bits, activations quantized while the model runs, without calibration data",
    )
    keep: tuple[str, ...] = Field((), description="globs of node, layer or operator names that stay float32")
    weights: Literal["stored", "float32"] = Field(
        "stored", description="weights that the source stores as float16 stay so, or become float32"
    )
    io: Literal["original", "nhwc"] = Field(
        "original", description="axis order of image inputs and outputs: the source's, or channels last"
    )
    io_type: Literal["float32", "int8", "uint8", "int16"] = Field(
        "float32", description="type of the real inputs and outputs of a quantized model; integers have the scale and "
        "the zero point that the file states"
    )
    int64: Literal["keep", "int32"] = Field("keep", description="type of int64 inputs and outputs")
    description: str = Field("", description="free text stored in the file")
