"""The upper half of a float32, rounded to nearest even."""

from bessemer.quantize.encodings.base import Half

FORMAT = Half("bfloat16", "BFLOAT16")
