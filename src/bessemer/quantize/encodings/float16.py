"""IEEE 754 binary16."""

from bessemer.quantize.encodings.base import Half

FORMAT = Half("float16", "FLOAT16")
