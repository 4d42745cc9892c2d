"""A .pt2 is read by torch.export.load, which trusts it: here every byte that could make it run code is looked at before.

torch resolves operator names by attributes of its own module, evaluates size expressions with sympy's parser (Python's
eval), writes names into code that it compiles, imports modules that a tree's context names, unpickles tensors and loads
shared objects. So: operators come from known namespaces, expressions are arithmetic, names are plain, contexts name no
modules, pickles rebuild tensors alone, and nothing compiled is taken.
"""

from __future__ import annotations

import ast
import json
import mmap
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bessemer.ir.errors import Blocker, Declined, UnreadableInput
from bessemer.wire.errors import WireError
from bessemer.wire.torchzip import ForeignNames, read
from bessemer.wire.torchzip.archive import Archive

JSON = 1 << 28
VALUES = 20_000_000
NAMESPACES = (
    "aten", "prims", "prim", "higher_order", "quantized_decomposed", "quantized", "torchvision", "onnx", "torchao", "symint",
)  # fmt: skip
OPERATOR = re.compile(r"torch\.ops\.(\w+)\.(\w+)(?:\.(\w+))?")
PLAIN = re.compile(r"(?:_operator|math)\.[a-z]\w*|torch(?:\.[a-z]\w*)?\.(?:sym_\w+|_sym_\w+)|torch\._check\w*")
FILES = frozenset({"from_file", "save", "load", "_load_for_lite_interpreter", "open_registration"})
"""Operators that touch the file system."""
CALLS = re.compile(r"\b(?:_operator)\.(?:attrgetter|methodcaller|itemgetter|call|setitem|delitem|iconcat)\b")
FUNCTIONS = frozenset(
    {
        "Mod", "PythonMod", "FloorDiv", "ModularIndexing", "Where", "CleanDiv", "CeilDiv", "CeilToInt", "FloorToInt",
        "RoundToInt", "ToFloat", "TruncToInt", "TruncToFloat", "IntTrueDiv", "FloatTrueDiv", "Max", "Min", "Abs", "Eq", "Ne",
        "Lt", "Le", "Gt", "Ge", "And", "Or", "Not", "Piecewise", "ITE", "Identity", "OpaqueUnaryFn_sqrt", "floor",
        "ceiling", "sqrt", "Add", "Mul", "Pow", "Integer", "Rational", "Float", "Symbol", "Half",
    }
)  # fmt: skip
NAME = re.compile(r"[\w.]*")
PICKLED = re.compile(r"(?:^|/)(?:serialized_\w+\.pt|sample_inputs/.*\.pt|custom_obj_\w+)$")


def check_program(path: Path) -> None:
    """Raises UnreadableInput for a .pt2 that is broken or would run code; Declined for what it holds besides a graph."""
    try:
        with path.open("rb") as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        archive = Archive(data)
        _check_members(archive)
    except ForeignNames as error:
        raise UnreadableInput(
            f"{path} asks for code, and is not unpickled", where=error.where, why=f"It names {', '.join(error.names[:40])}"
        ) from None
    except WireError as error:
        raise UnreadableInput(f"{path} is a broken or hostile .pt2 file", why=str(error)) from None


def _check_members(archive: Archive) -> None:
    binary = (".so", ".cubin", ".dll", ".dylib")
    compiled = [name for name in archive.members if "/aotinductor/" in f"/{name}" or name.endswith(binary)]
    if compiled:
        reason = "it is machine code, which is not loaded"
        blockers = [Blocker("", name, "compiled-code", reason, rewrite="torch.export.save") for name in compiled]
        raise Declined("Reading a .pt2", blockers)
    for name, member in archive.members.items():
        if name.endswith(".json"):
            if member.size > JSON:
                raise WireError(f"a description of {member.size} bytes", where=name)
            _check_json(_parsed(bytes(archive.bytes(name)), name), name)
        elif PICKLED.search(name):
            _check_pickle(archive.bytes(name), name)
    _check_pickled_weights(archive)


def _parsed(text: bytes, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise WireError("it is no JSON", where=where) from None


def _check_pickle(content: memoryview, where: str) -> None:
    """A pickle that rebuilds more than tensors is refused with all names."""
    if not content:
        return
    try:
        read(content)
    except ForeignNames as error:
        raise ForeignNames(error.names, where=where) from None


def _check_pickled_weights(archive: Archive) -> None:
    """Weights and constants that the configuration calls pickles, and any that only look so."""
    for name in archive.members:
        if re.search(r"(?:^|/)data/(?:weights|constants)/[^/]+$", name) and not name.endswith(".json"):
            content = archive.bytes(name, checked=False)
            if bytes(content[:4]) == b"PK\x03\x04" or _said_to_be_pickled(archive, name):
                _check_pickle(content, name)


def _said_to_be_pickled(archive: Archive, name: str) -> bool:
    folder, _, own = name.rpartition("/")
    for config in archive.members:
        if config.startswith(f"{folder}/") and config.endswith("_config.json"):
            said = json.loads(bytes(archive.bytes(config)))
            entries = said.get("config", {}).values() if isinstance(said, dict) else ()
            pickled = [entry for entry in entries if isinstance(entry, dict) and entry.get("use_pickle")]
            if any(entry.get("path_name") == own for entry in pickled):
                return True
    return False


def _check_json(value: Any, where: str) -> None:
    for key, item in _strings(value):
        if key in ("operator", "as_operator"):
            _check_target(item, where)
        elif key in ("expr_str", "range_constraints", "symbol"):
            _check_expression(item, where)
        elif key == "name" and not NAME.fullmatch(item):
            raise WireError(f"'{item[:80]}' for a name, which torch would compile", where=where)
        elif key in ("in_spec", "out_spec", "treespec") or item.startswith('[1, {"type"'):
            _check_tree(item, where)


def _strings(value: Any) -> Iterator[tuple[str, str]]:
    """Every text with the key that it stands under; keys of range_constraints, too."""
    pending: list[tuple[str, Any]] = [("", value)]
    for _ in range(VALUES):
        if not pending:
            return
        key, item = pending.pop()
        if isinstance(item, str):
            yield key, item
        elif isinstance(item, dict):
            if key == "range_constraints":
                pending += [(key, name) for name in item]
            if "inputs" in item and "outputs" in item and isinstance(item.get("target"), str):
                yield "operator", item["target"]
            pending += item.items()
        elif isinstance(item, list):
            pending += [(key, part) for part in item]
    raise WireError(f"more than {VALUES} values")


def _check_target(text: str, where: str) -> None:
    """The name of an operator, as torch resolves it by attributes."""
    found = OPERATOR.fullmatch(text)
    if found and found[1] in NAMESPACES:
        if found[2] in FILES or not found[2].strip("_"):
            raise WireError(f"the operator '{text[:120]}', which touches files", where=where)
        return
    if PLAIN.fullmatch(text) and "__" not in text and not CALLS.match(text):
        return
    if found:
        reason = f"operators of the namespace '{found[1]}' are code of its own, which this file does not hold"
        raise Declined("torch.export", [Blocker("", text, "custom-operator", reason, rewrite="operators of torch itself")])
    if text.startswith(("_operator", "torch", "math", "#")):
        raise WireError(f"'{text[:120]}' is named as an operator, and is none", where=where)


def _check_expression(text: str, where: str) -> None:
    """Arithmetic over symbols, as sympy writes it: its parser would evaluate anything else as Python."""
    try:
        tree = ast.parse(text, mode="eval") if len(text) < 20_000 else None
        plain = tree is not None and all(map(_is_arithmetic, ast.walk(tree)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        plain = False
    if not plain:
        raise WireError(f"a size that is no arithmetic: '{text[:80]}'", where=where)


def _is_arithmetic(node: ast.AST) -> bool:
    """One node of an expression; powers are small, for what evaluates large ones may never end."""
    if isinstance(node, ast.Call):
        known = isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS
        power = known and node.func.id == "Pow"  # type: ignore[attr-defined]  # `known` says that it is a name
        return known and not (power and (len(node.args) != 2 or not _is_small(node.args[1])))
    if isinstance(node, ast.BinOp):
        shift, power = isinstance(node.op, (ast.LShift, ast.RShift)), isinstance(node.op, ast.Pow)
        return not shift and (not power or _is_small(node.right))
    if isinstance(node, ast.Constant):
        return isinstance(node.value, (bool, float)) or (
            abs(node.value) < 1 << 64 if isinstance(node.value, int) else bool(NAME.fullmatch(str(node.value)))
        )
    return isinstance(
        node,
        (ast.Expression, ast.Name, ast.UnaryOp, ast.Compare, ast.BoolOp, ast.keyword, ast.operator, ast.unaryop, ast.cmpop,
         ast.boolop, ast.expr_context),
    )  # fmt: skip


def _is_small(node: ast.AST) -> bool:
    """An exponent of one digit, in Python's words or sympy's."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("Integer", "Rational"):
        return all(map(_is_small, node.args))
    inner = node.operand if isinstance(node, ast.UnaryOp) else node
    return isinstance(inner, ast.Constant) and isinstance(inner.value, (int, float)) and abs(inner.value) < 10


def _check_tree(text: str, where: str) -> None:
    """The containers of inputs and outputs: their contexts may name modules, which torch would import."""
    tree = _parsed(text.encode(), where)
    pending = [tree]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            module = item.get("default_factory_module")
            if "__enum__" in item or module not in (None, "builtins", "collections"):
                raise WireError("a container that makes torch import a module", where=where)
            pending += item.values()
        elif isinstance(item, list):
            pending += item
        elif isinstance(item, str) and item[:1] in ("[", "{"):
            pending.append(_parsed(item.encode(), where))
        elif isinstance(item, str) and re.search(r"['\"\\\n\]]", item):
            raise WireError(f"'{item[:80]}' for a key, which torch would compile", where=where)
