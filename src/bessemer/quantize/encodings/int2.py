"""INT2: symmetric unless asked otherwise."""

from bessemer.quantize.encodings.base import Integer

FORMAT = Integer("int2", "INT2", symmetric=True)
