"""UINT4: affine."""

from bessemer.quantize.encodings.base import Integer

FORMAT = Integer("uint4", "UINT4", symmetric=False)
