"""sympy stays out of a conversion until arithmetic on dims asks for it, and is itself for everybody else."""

from __future__ import annotations

import subprocess
import sys

import pytest


def _answer(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_reading_a_graph_does_not_import_sympy() -> None:
    assert _answer("import sys, bessemer.ir.model, onnx_ir; print('sympy' in sys.modules)") == "False"


def test_arithmetic_on_dims_imports_it_and_is_right() -> None:
    code = (
        "import bessemer.ir.model, onnx_ir as ir, sys;"
        "dim = ir.SymbolicDim('floor(N/2) + max(N, 3)') + 1;"
        "print(dim.evaluate({'N': 5}), sys.modules['sympy'].Integer(7), type(sys.modules['sympy']).__name__)"
    )
    assert _answer(code) == "8 7 module"


@pytest.mark.parametrize(
    "code",
    [
        "import sympy, bessemer.ir.model, onnx_ir",
        "import bessemer.ir.model, sympy, onnx_ir",
        "import bessemer.ir.model, onnx_ir, sympy",
        "import onnx_ir, bessemer.ir.model, sympy",
    ],
)
def test_in_any_order_sympy_is_the_real_one(code: str) -> None:
    check = "; print(sympy.sqrt(4) == 2, onnx_ir._core.sympy.sqrt(4) == 2, hasattr(sympy, '__path__'))"
    assert _answer(code + check) == "True True True"
