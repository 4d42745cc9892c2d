"""Conditions that torch could not prove for all sizes: tried at many sizes instead.

torch.export compares strides of views that are laid out alike by terms such as min(24 + 8 p, 48 + 16 p) == 24 + 8 p, which
is so for every p, and gives up. A condition that holds at all sizes tried here is taken for one of those.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Mapping, Sequence

from bessemer.sources.huggingface.tasks.base import Port

GUARD = re.compile(r"satisfy the generated guard (.+?)\.$", re.MULTILINE)
SIZE = re.compile(r"L\['tensors'\]\[(\d+)\]\.size\(\)\[(\d+)\]")
SIZES = (0, 1, 2, 3, 4, 5, 7, 8, 31, 32, 33, 64, 100, 127, 128, 255, 1000, 1024, 4095, 4096, 100_003)
MOST = 3
"""Axes that one condition may speak of."""
ALLOWED = (
    ast.Expression, ast.Compare, ast.BoolOp, ast.And, ast.Or, ast.BinOp, ast.UnaryOp, ast.USub, ast.Add, ast.Sub, ast.Mult,
    ast.FloorDiv, ast.Mod, ast.Call, ast.Name, ast.Load, ast.Constant, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE,
)  # fmt: skip
Bounds = Mapping[str, tuple[int | None, int | None]]


def hold(message: str, ports: Sequence[Port], bounds: Bounds) -> bool:
    """Whether every condition that the message names holds at all sizes tried; False where it names none."""
    found = GUARD.findall(message)
    return bool(found) and all(_holds(text, ports, bounds) for text in found)


def _holds(text: str, ports: Sequence[Port], bounds: Bounds) -> bool:
    names: set[str] = set()

    def axis(hit: re.Match[str]) -> str:
        name = ports[int(hit[1])].axes[int(hit[2])]
        names.add(str(name))
        return str(name)

    try:
        tree = ast.parse(SIZE.sub(axis, text), mode="eval")
    except (SyntaxError, IndexError):
        return False
    if len(names) > MOST or not all(_allowed(node, names) for node in ast.walk(tree)):
        return False
    code = compile(tree, "guard", "eval")
    ranges = [_within(name, bounds) for name in sorted(names)]
    known = {"__builtins__": {}, "min": min, "max": max}
    try:
        return all(
            eval(code, known, dict(zip(sorted(names), sizes, strict=True))) for sizes in itertools.product(*ranges)
        )
    except ZeroDivisionError:
        return False


def _allowed(node: ast.AST, names: set[str]) -> bool:
    """Arithmetic, comparisons, min and max of the axes: nothing else is evaluated."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int)
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in ("min", "max") and not node.keywords
    if isinstance(node, ast.Name):
        return node.id in names or node.id in ("min", "max")
    return isinstance(node, ALLOWED)


def _within(name: str, bounds: Bounds) -> list[int]:
    low, high = bounds.get(name, (None, None))
    least = low if low is not None else 0 if "past" in name else 1
    return [size for size in SIZES if size >= least and (high is None or size <= high)]
