"""SavedModels, frozen graphs and checkpoints as programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

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
from bessemer.wire.savedmodel.records import Graph, MetaGraph, Signature, graph, meta_graph, saved_model

DEFAULT = "serving_default"
INIT = "__saved_model_init_op"
SINKS = frozenset({"NoOp", "Assert", "Print", "PrintV2", "SaveV2", "Save", "ScalarSummary", "HistogramSummary",
                   "MergeSummary", "ImageSummary", "MergeV2Checkpoints", "Assign", "AssignVariableOp", "Const",
                   "Placeholder", "RestoreV2", "VarIsInitializedOp", "IsVariableInitialized", "ShardedFilename",
                   "VarHandleOp", "VariableV2", "Variable"})  # fmt: skip
"""Operators that nobody reads and that are no outputs all the same."""


def load(path: Path, signature: str | None) -> Program:
    """The program of a SavedModel (its folder or saved_model.pb), a frozen .pb, or a .meta beside a checkpoint.

    Raises UnreadableInput, UsageError.
    """
    try:
        return _load(path, signature)
    except WireError as error:
        raise UnreadableInput(f"{path} is broken or hostile", why=str(error)) from None
    except OSError as error:
        missing = error.filename or path
        raise UnreadableInput(f"{path} cannot be read", why=f"{missing}: {error.strerror}") from None


def _load(path: Path, signature: str | None) -> Program:
    if path.suffix == ".meta":
        return _checkpointed(path, signature)
    if path.is_dir() or is_saved_model(path):
        return _saved(path, signature)
    return frozen(graph(mapped(path)), path)


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


def _checkpointed(path: Path, signature: str | None) -> Program:
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
    return _with_variables(frozen(meta.graph, path), meta, values)


def _usable(signature: Signature) -> bool:
    return bool(signature.outputs) and not any(name == INIT for name in signature.outputs)


def signed(meta: MetaGraph, values: Mapping[str, Any], path: Path, wanted: str | None) -> Program:
    """The program of one signature. Raises UsageError where none is meant, or more than one."""
    known = {key: item for key, item in meta.signatures.items() if key != INIT and item.outputs}
    if not known:
        raise UsageError(
            f"{path} has no signature", why="its functions can be called from Python only",
            fix="Save it with signatures, as tf.saved_model.save(model, path, signatures=...)",
        )  # fmt: skip
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


def frozen(held: Graph, path: Path) -> Program:
    """A graph without signatures: its placeholders are the inputs, what nobody reads are the outputs."""
    read = {ref_of(ref) for node in held.nodes for ref in node.inputs}
    used = {split_ref(ref)[0] for ref in read} | {name for node in held.nodes for name in node.controls}
    inputs = tuple(_placeholder(node) for node in held.nodes if node.op in ("Placeholder", "PlaceholderV2"))
    outputs = tuple(
        Border(node.name, node.name, None, None) for node in held.nodes if node.name not in used and node.op not in SINKS
    )
    if not outputs:
        raise UnreadableInput(f"{path} has no outputs", why="every node of the graph is read by another one")
    body = main_body(held.nodes, [item.ref for item in inputs], [item.ref for item in outputs])
    reached = {ref for node in body.order() for ref in node.inputs} | set(body.returns)
    inputs = tuple(item for item in inputs if item.ref in reached)
    body = main_body(held.nodes, [item.ref for item in inputs], [item.ref for item in outputs])
    details = {"nodes": len(held.nodes), "producer": held.producer}
    return Program(body, Bodies(held.functions), inputs, outputs, {}, details)


def _placeholder(node: Node) -> Border:
    dims = node.attrs.get("shape")
    return Border(node.name, node.name, node.attrs.get("dtype"), dims)
