"""INT4: symmetric unless asked otherwise."""

from bessemer.quantize.encodings.base import Integer

FORMAT = Integer("int4", "INT4", symmetric=True)
