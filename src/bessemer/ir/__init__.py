"""The vocabulary every stage shares: models, encodings, layouts, signatures, errors."""

from bessemer.ir.deferred import defer_sympy

defer_sympy()  # before anything of ours imports onnx_ir
