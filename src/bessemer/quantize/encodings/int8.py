"""INT8: symmetric unless asked otherwise."""

from bessemer.quantize.encodings.base import Integer

FORMAT = Integer("int8", "INT8", symmetric=True)
