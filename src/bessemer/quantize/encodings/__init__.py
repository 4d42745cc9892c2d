"""Number formats, one file each with `FORMAT`; listed without importing them (or numpy).

A scale serves a whole array, a channel or a block of elements in a row: `base.Grain` says which, for every format.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bessemer.quantize.encodings.base import Float8, Format, Integer

FORMATS = {
    "int8": "integers -127 to 127 and a scale",
    "uint8": "integers 0 to 255, a scale and a zero point",
    "int16": "integers -32767 to 32767 and a scale",
    "uint16": "integers 0 to 65535, a scale and a zero point",
    "int4": "integers -7 to 7 and a scale",
    "uint4": "integers 0 to 15, a scale and a zero point",
    "int2": "integers -1 to 1 and a scale",
    "binary": "the sign and a scale",
    "ternary": "-1, 0 or 1 and a scale",
    "float16": "IEEE half precision",
    "bfloat16": "float32 with 8 bits of mantissa",
    "float8_e4m3fn": "4 bits of exponent, 3 of mantissa, no infinity, and a scale",
    "float8_e5m2": "5 bits of exponent, 2 of mantissa, and a scale",
}
"""Every format: what it stores."""


def number_format(name: str) -> Format:
    """The format of this name. Raises UsageError for an unknown one."""
    from bessemer.ir.errors import UsageError

    if name not in FORMATS:
        raise UsageError(f"There is no number format '{name}'", fix=f"Choose one of {', '.join(FORMATS)}")
    found: Format = import_module(f"{__name__}.{name}").FORMAT
    return found


def integer_format(dtype: str, *, symmetric: bool) -> Integer:
    """The integer format of an ONNX type, with or without a free zero point."""
    from dataclasses import replace

    from bessemer.quantize.encodings.base import Integer

    found = number_format(dtype.lower())
    if not isinstance(found, Integer):
        raise ValueError(f"{dtype} is no integer format")
    return replace(found, symmetric=symmetric)


def float8_format(kind: str) -> Float8:
    """'e4m3fn' or 'e5m2'."""
    from bessemer.quantize.encodings.base import Float8

    found = number_format(f"float8_{kind}")
    if not isinstance(found, Float8):
        raise ValueError(f"{kind} is no float of eight bits")
    return found
