"""UINT16: affine."""

from bessemer.quantize.encodings.base import Integer

FORMAT = Integer("uint16", "UINT16", symmetric=False)
