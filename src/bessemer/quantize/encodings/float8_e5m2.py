"""Eight bits, 2 of mantissa, up to 57344: wide range, little precision."""

from bessemer.quantize.encodings.base import Float8

FORMAT = Float8("float8_e5m2", "FLOAT8E5M2")
