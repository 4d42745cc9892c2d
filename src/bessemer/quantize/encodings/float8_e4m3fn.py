"""Eight bits, 3 of mantissa, no infinity, up to 448: weights and activations."""

from bessemer.quantize.encodings.base import Float8

FORMAT = Float8("float8_e4m3fn", "FLOAT8E4M3FN")
