"""SavedModels, frozen graphs and checkpoints as programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bessemer.ir.errors import UnreadableInput, UsageError
from bessemer.runners.tensorflow.program import (
    VARIABLES,
    Bodies,
    Border,
    Program,
    Saved,
    Variables,
    main_body,
    ref_of,
    restored,
    split_ref,
)
from bessemer.wire.errors import WireError
from bessemer.wire.savedmodel.bundle import Bundle, OldCheckpoint, mapped
from bessemer.wire.savedmodel.node import Node
from bessemer.wire.savedmodel.records import (
    Graph,
    MetaGraph,
    SavedObject,
    Signature,
    graph,
    meta_graph,
    saved_model,
)

DEFAULT = "serving_default"
INIT = "__saved_model_init_op"
SINKS = frozenset({"NoOp", "Assert", "Print", "PrintV2", "SaveV2", "Save", "ScalarSummary", "HistogramSummary",
                   "MergeSummary", "ImageSummary", "MergeV2Checkpoints", "Assign", "AssignVariableOp", "Const",
                   "Placeholder", "RestoreV2", "VarIsInitializedOp", "IsVariableInitialized", "ShardedFilename",
                   "VarHandleOp", "VariableV2", "Variable"})  # fmt: skip
"""Operators that nobody reads and that are no outputs all the same."""


@dataclass(frozen=True)
class Ends:
    """Values that the user names as the borders of a graph without signatures; none: those that it has."""

    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


NO_ENDS = Ends()


def load(path: Path, signature: str | None, ends: Ends = NO_ENDS) -> Program:
    """The program of a SavedModel (its folder or saved_model.pb), a frozen .pb, or a .meta beside a checkpoint.

    Raises UnreadableInput, UsageError.
    """
    try:
        return _load(path, signature, ends)
    except WireError as error:
        raise UnreadableInput(f"{path} is broken or hostile", why=str(error)) from None
    except OSError as error:
        missing = error.filename or path
        raise UnreadableInput(f"{path} cannot be read", why=f"{missing}: {error.strerror}") from None


def _load(path: Path, signature: str | None, ends: Ends) -> Program:
    if path.suffix == ".meta":
        return _checkpointed(path, signature, ends)
    if path.is_dir() or is_saved_model(path):
        return _saved(path, signature)
    held = graph(mapped(path))
    return frozen(held, path, ends_in(held.nodes, ends))


def is_saved_model(path: Path) -> bool:
    """Whether a file is a saved_model.pb: it starts with its schema's version, a GraphDef with a node."""
    return bytes(mapped(path)[:2]) == b"\x08\x01"


def _saved(path: Path, signature: str | None) -> Program:
    meta = meta_of(path)
    prefix = (path if path.is_dir() else path.parent) / "variables" / "variables"
    values: Mapping[str, Any] = Bundle(prefix) if Path(f"{prefix}.index").exists() else {}
    return signed(meta, values, path, signature)


def meta_of(path: Path) -> MetaGraph:
    """The meta graph of a SavedModel, a folder or its .pb, that is read. Raises UnreadableInput, WireError."""
    return serving(saved_model(mapped(path / "saved_model.pb" if path.is_dir() else path)), path)


def serving(metas: Sequence[MetaGraph], path: Path) -> MetaGraph:
    """The meta graph for serving, or the only one; of several without tags for serving, the one with fewest."""
    if not metas:
        raise UnreadableInput(f"{path} is broken or hostile", why="it has no meta graph")
    return next((meta for meta in metas if "serve" in meta.tags), min(metas, key=lambda meta: len(meta.tags)))


def _checkpointed(path: Path, signature: str | None, ends: Ends) -> Program:
    """A meta graph and the checkpoint of the same name."""
    prefix = path.with_suffix("")
    meta = meta_graph(mapped(path))
    values: Mapping[str, Any]
    if Path(f"{prefix}.index").exists():
        values = Bundle(prefix)
    elif prefix.exists():
        values = OldCheckpoint(prefix)
    else:
        raise UnreadableInput(
            f"{path} has no checkpoint beside it", why=f"there is neither {prefix.name}.index nor {prefix.name}",
            fix="Keep the files of one checkpoint together",
        )  # fmt: skip
    if any(_usable(item) for item in meta.signatures.values()):
        return signed(meta, values, path, signature)
    return _with_variables(frozen(meta.graph, path, ends_in(meta.graph.nodes, ends)), meta, values)


def _usable(signature: Signature) -> bool:
    return bool(signature.outputs) and not any(name == INIT for name in signature.outputs)


def signed(meta: MetaGraph, values: Mapping[str, Any], path: Path, wanted: str | None) -> Program:
    """The program of one signature. Raises UsageError where none is meant, or more than one."""
    known = {key: item for key, item in meta.signatures.items() if key != INIT and item.outputs}
    if not known:
        return called(meta, values, path, wanted)
    name = wanted or (DEFAULT if DEFAULT in known else next(iter(known)) if len(known) == 1 else None)
    if name is None or name not in known:
        what = f"has no signature '{wanted}'" if wanted else f"has {len(known)} signatures and no '{DEFAULT}'"
        raise UsageError(f"{path} {what}", fix=f"Name one with --signature: {', '.join(sorted(known))}")
    chosen = known[name]
    plain = [key for key, info in (*chosen.inputs.items(), *chosen.outputs.items()) if not info.name]
    if plain:
        raise UsageError(f"Signature '{name}' of {path} has the sparse or composite tensor '{plain[0]}'")
    inputs = tuple(Border(key, ref_of(i.name), i.type, i.shape) for key, i in sorted(chosen.inputs.items()))
    outputs = tuple(
        Border(f"{key}_out" if key in chosen.inputs else key, ref_of(i.name), i.type, i.shape)
        for key, i in sorted(chosen.outputs.items())
    )  # a graph's inputs and outputs share their names in the hub
    body = main_body(meta.graph.nodes, [item.ref for item in inputs], [item.ref for item in outputs])
    details = {"tensorflow": meta.version, "tags": ", ".join(meta.tags), "signature": name,
               "signatures": ", ".join(sorted(known))}  # fmt: skip
    program = Program(body, Bodies(meta.graph.functions), inputs, outputs, {}, details)
    return _with_variables(program, meta, values)


def _with_variables(program: Program, meta: MetaGraph, values: Mapping[str, Any]) -> Program:
    """Each variable's key as the restoring operation says, or else the variable's own name."""
    nodes = {node.name: node for node in meta.graph.nodes}
    main = main_body(meta.graph.nodes, [], [])
    found = restored(main, program.functions, split_ref(ref_of(meta.restore))[0])
    for node in nodes.values():
        if node.op in VARIABLES and node.name not in found:
            names = (str(node.attrs.get("shared_name") or ""), node.name)
            key = next((name for name in names if name in values), None)
            if key is not None:
                found[node.name] = Saved(key)
    return replace(program, variables=Variables(found, values))


def frozen(held: Graph, path: Path, ends: Ends = NO_ENDS) -> Program:
    """A graph without signatures: its placeholders are the inputs; what follows from them and nobody reads, the outputs.

    ends: values named by the user, instead of those.
    """
    nodes = {node.name: node for node in held.nodes}
    outputs = tuple(Border(name, ref_of(name), None, None) for name in ends.outputs) or _unread(held)
    if not outputs:
        raise UnreadableInput(f"{path} has no outputs", why="every node of the graph is read by another one",
                              fix="Name some with --outputs")  # fmt: skip
    placeholders = [_placeholder(node) for node in held.nodes if node.op in ("Placeholder", "PlaceholderV2")]
    named = [_inner(nodes[split_ref(ref_of(name))[0]], name) for name in ends.inputs]
    known = {item.ref for item in named}
    inputs = (*named, *(item for item in placeholders if item.ref not in known))
    body = main_body(held.nodes, [item.ref for item in inputs], [item.ref for item in outputs])
    reached = {ref for node in body.order() for ref in node.inputs} | set(body.returns)
    inputs = tuple(item for item in inputs if item.ref in reached)
    body = main_body(held.nodes, [item.ref for item in inputs], [item.ref for item in outputs])
    details = {"nodes": len(held.nodes), "producer": held.producer}
    return Program(body, Bodies(held.functions), inputs, outputs, {}, details)


def _unread(held: Graph) -> tuple[Border, ...]:
    """Nodes that nobody reads and that follow from a placeholder, if there is any."""
    used = {split_ref(ref_of(ref))[0] for node in held.nodes for ref in node.inputs}
    used |= {name for node in held.nodes for name in node.controls}
    left = [node for node in held.nodes if node.name not in used and not _sinks(node.op)]
    readers: dict[str, list[str]] = {}
    for node in held.nodes:
        for ref in node.inputs:
            readers.setdefault(split_ref(ref_of(ref))[0], []).append(node.name)
    stack = [node.name for node in held.nodes if node.op in ("Placeholder", "PlaceholderV2")]
    following: set[str] = set()
    while stack:
        name = stack.pop()
        if name not in following:
            following.add(name)
            stack += readers.get(name, [])
    chosen = [node for node in left if node.name in following] if following else left
    meant = [node for node in chosen if node.op not in ("Exit", "RefExit")]  # states of loops that nobody wants
    chosen = meant or chosen
    return tuple(Border(node.name, node.name, None, None) for node in chosen)


def _sinks(op: str) -> bool:
    return op in SINKS or op.startswith(("Apply", "ResourceApply", "Assign", "Scatter", "ResourceScatter"))


def _inner(node: Node, name: str) -> Border:
    """A value in the middle of the graph as an input."""
    held = next((node.attrs[key] for key in ("DstT", "T", "dtype", "out_type") if key in node.attrs), np.dtype(np.float32))
    return Border(name, ref_of(name), held, node.attrs.get("shape"))


def ends_in(nodes: Sequence[Node], ends: Ends) -> Ends:
    """Those ends, if all are values of the graph itself; none of them otherwise: the cut is made where they are known."""
    names = {node.name for node in nodes}
    inside = all(split_ref(ref_of(name))[0] in names for name in (*ends.inputs, *ends.outputs))
    return ends if inside else Ends()


def _placeholder(node: Node) -> Border:
    dims = node.attrs.get("shape")
    return Border(node.name, node.name, node.attrs.get("dtype"), dims)


# -- functions of objects -----------------------------------------------------------------------------------------------

CALL = "__call__"
VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


def called(meta: MetaGraph, values: Mapping[str, Any], path: Path, wanted: str | None) -> Program:
    """A function of a SavedModel's object: `__call__`, or the one that is named. Raises UsageError."""
    names = _callable(meta)
    name = wanted or (CALL if CALL in names else next(iter(names)) if len(names) == 1 else None)
    chosen = names.get(str(name)) or ([str(name)] if any(name in item for item in names.values()) else [])
    if len(chosen) != 1:
        what = "has no signature and no function to call" if not names else (
            f"has no signature; '{name}' stands for {len(chosen)} functions" if name else "has no signature")  # fmt: skip
        known = sorted({*names, *(item for group in names.values() for item in group)})
        fix = f"Name one with --signature: {', '.join(known)}" if known else "Save it with signatures"
        raise UsageError(f"{path} {what}", fix=fix)
    return _function_program(meta, values, path, chosen[0])


def _callable(meta: MetaGraph) -> dict[str, list[str]]:
    """Concrete functions of the root object by the names that it calls them."""
    if not meta.objects:
        return {}
    found = {}
    for name, place in meta.objects[0].children.items():
        held = meta.objects[place] if place < len(meta.objects) else None
        if held is not None and held.kind == "function":
            found[name] = [item for item in held.functions if item in meta.concrete]
    return {name: group for name, group in found.items() if group}


def _function_program(meta: MetaGraph, values: Mapping[str, Any], path: Path, name: str) -> Program:
    """A main graph that does nothing but call a function with its arguments and what is bound to it."""
    function, concrete = meta.graph.functions[name], meta.concrete[name]
    free = function.arguments[: len(function.arguments) - len(concrete.bound)]
    if len(concrete.bound) > len(function.arguments) or len(free) != len(concrete.inputs):
        raise WireError(f"function '{name}' takes other arguments than its record says", where="SavedConcreteFunction")
    said = [item[0] or argument.name for item, argument in zip(concrete.inputs, free, strict=True)]
    names = said if len(set(said)) == len(said) else [argument.name for argument in free]
    inputs = tuple(Border(key, f"argument/{key}", argument.type, item[1])
                   for key, argument, item in zip(names, free, concrete.inputs, strict=True))  # fmt: skip
    keys, saved = _keys(meta.objects), {}
    bound = []
    for place in concrete.bound:
        held = meta.objects[place] if place < len(meta.objects) else None
        if held is not None and held.kind == "constant":
            bound.append(held.name)
        elif held is not None and keys.get(place, "") + VALUE in values:
            bound.append(f"variable/{place}")
            saved[f"variable/{place}"] = Saved(keys[place] + VALUE)
        else:
            kind = "nothing" if held is None else f"a {held.kind}"
            raise UsageError(f"Function '{name}' of {path} needs {kind} that is no tensor in the checkpoint")
    nodes = [*meta.graph.nodes, *(Node(key, "VarHandleOp", (), {}) for key in saved)]
    nodes.append(Node("call", "PartitionedCall", (*(item.ref for item in inputs), *bound), {"f": name}))
    stated = [item or "0" for item in concrete.outputs]
    if len(stated) != len(function.results):
        stated = [str(number) for number in range(len(function.results))]
    outputs = tuple(
        Border(f"output_{key}" if key.isdigit() else key, f"call:{number}" if number else "call", result.type, None)
        for number, (key, result) in enumerate(zip(stated, function.results, strict=True))
    )
    body = main_body(nodes, [item.ref for item in inputs], [item.ref for item in outputs])
    details = {"tensorflow": meta.version, "tags": ", ".join(meta.tags), "function": name}
    return Program(body, Bodies(meta.graph.functions), inputs, outputs, Variables(saved, values), details)


def _keys(objects: Sequence[SavedObject]) -> dict[int, str]:
    """The key of every object in the checkpoint: the shortest way to it from the root, names escaped."""
    found, queue = {0: ""}, [0]
    for place in queue:
        for name, child in objects[place].children.items():
            if child < len(objects) and child not in found:
                escaped = name.replace(".", "..").replace("/", ".S")
                found[child] = f"{found[place]}/{escaped}" if found[place] else escaped
                queue.append(child)
    return found
