"""UINT8: affine."""

from bessemer.quantize.encodings.base import Integer

FORMAT = Integer("uint8", "UINT8", symmetric=False)
