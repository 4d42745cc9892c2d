"""INT16: symmetric unless asked otherwise."""

from bessemer.quantize.encodings.base import Integer

FORMAT = Integer("int16", "INT16", symmetric=True)
