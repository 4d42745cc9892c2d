"""Graphs of a hostile file: names, scopes, order, function calls, all bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from bessemer.ir.errors import UnreadableInput

MAX_DEPTH = 64
"""Subgraphs inside subgraphs."""

MAX_EXPANDED = 2_000_000
"""Nodes after all model-local functions are inlined."""


def refuse(path: Path, where: str, why: str) -> UnreadableInput:
    """The one shape of a refusal."""
    return UnreadableInput(f"{path} is broken or hostile", where=where, why=why)


def check_graphs(proto: Any, path: Path) -> None:
    """Raises UnreadableInput for anything that no runtime could execute."""
    _check_words((proto.producer_name, proto.producer_version, proto.domain, proto.doc_string), path)
    _check_words((word for item in proto.metadata_props for word in (item.key, item.value)), path)
    _check_words((item.domain for item in proto.opset_import), path)
    for graph in all_graphs(proto.graph, path):  # bounds the nesting for all that follows
        _check_text(graph, path)
    for function in proto.functions:
        _check_words((function.name, function.domain, *function.input, *function.output, *function.attribute), path)
        for node in function.node:
            _check_words(_words(node), path)
    _check_functions(proto, path)
    _check_graph(proto.graph, path, frozenset(), 0)


def _check_text(graph: Any, path: Path) -> None:
    values = (*graph.input, *graph.output, *graph.value_info, *graph.initializer)
    _check_words((graph.name, graph.doc_string, *(value.name for value in values)), path)
    for value in (*graph.input, *graph.output, *graph.value_info):
        _check_words((dim.dim_param for dim in value.type.tensor_type.shape.dim), path)
    for node in graph.node:
        _check_words(_words(node), path)


def _words(node: Any) -> Iterator[str | bytes]:
    yield from (node.name, node.op_type, node.domain, node.doc_string, *node.input, *node.output)
    for attribute in node.attribute:
        yield attribute.name
        if node.domain in ("", "ai.onnx"):  # other domains may hold any bytes
            yield from (_text(item) for item in (attribute.s, *attribute.strings))


def _text(item: bytes) -> str | bytes:
    try:
        return item.decode()
    except UnicodeDecodeError:
        return item


def _check_words(words: Iterable[str | bytes], path: Path) -> None:
    """Names are text; protobuf hands out bytes where they are not."""
    for word in words:
        if isinstance(word, bytes):
            raise refuse(path, f"the text {word[:40]!r}", "it is not UTF-8")


def subgraphs(node: Any) -> Iterator[Any]:
    """Graphs held by a node's attributes."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def all_graphs(graph: Any, path: Path, depth: int = 0) -> Iterator[Any]:
    """`graph` and everything nested in it."""
    if depth > MAX_DEPTH:
        raise refuse(path, f"graph '{graph.name}'", f"subgraphs nest deeper than {MAX_DEPTH}")
    yield graph
    for node in graph.node:
        for inner in subgraphs(node):
            yield from all_graphs(inner, path, depth + 1)


def _check_graph(graph: Any, path: Path, outer: frozenset[str], depth: int) -> None:
    """Each name is defined once, every used name is defined, and some order of the nodes exists."""
    where = f"graph '{graph.name}'"
    if depth > MAX_DEPTH:
        raise refuse(path, where, f"subgraphs nest deeper than {MAX_DEPTH}")
    given = _given(graph, path, where)
    made = _made(graph, given, path, where)
    visible = outer | given | made.keys()
    for value in graph.output:
        if value.name not in visible:
            raise refuse(path, where, f"the output '{value.name}' is never made")
    needs = [_needs(node, visible, path, f"{where}, {_title(i, node)}") for i, node in enumerate(graph.node)]
    _check_acyclic(graph, needs, made, path, where)
    for node in graph.node:
        for inner in subgraphs(node):
            _check_graph(inner, path, frozenset(visible), depth + 1)


def _title(index: int, node: Any) -> str:
    return f"node {index} ({node.op_type})"


def _given(graph: Any, path: Path, where: str) -> set[str]:
    borders = [value.name for value in graph.input]
    if len(set(borders)) != len(borders):
        raise refuse(path, where, "two inputs have the same name")
    held = [tensor.name for tensor in graph.initializer]
    held += [item.values.name for item in graph.sparse_initializer]
    if len(set(held)) != len(held):
        raise refuse(path, where, "two initializers have the same name")
    return {*borders, *held}


def _made(graph: Any, given: set[str], path: Path, where: str) -> dict[str, int]:
    """Value -> index of the node that makes it."""
    made: dict[str, int] = {}
    for index, node in enumerate(graph.node):
        for name in filter(None, node.output):
            if name in made or name in given:
                raise refuse(path, f"{where}, {_title(index, node)}", f"the value '{name}' is defined twice")
            made[name] = index
    return made


def _needs(node: Any, visible: set[str] | frozenset[str], path: Path, where: str) -> set[str]:
    """Names that must exist before `node`: its inputs, and what its subgraphs capture."""
    for name in filter(None, node.input):
        if name not in visible:
            raise refuse(path, where, f"the input '{name}' is never made")
    needs = set(filter(None, node.input))
    for inner in subgraphs(node):
        needs |= _captured(inner) & visible
    return needs


def _captured(graph: Any) -> set[str]:
    """Names that `graph` uses and does not define (its own names may shadow outer ones)."""
    defined = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    defined |= {item.values.name for item in graph.sparse_initializer}
    used = {value.name for value in graph.output}
    for node in graph.node:
        used.update(node.input)
        defined.update(node.output)
        for inner in subgraphs(node):
            used |= _captured(inner)
    return used - defined


def _check_acyclic(graph: Any, needs: list[set[str]], made: dict[str, int], path: Path, where: str) -> None:
    """Kahn's algorithm: nodes may stand in any order, but some order must exist."""
    before = [{made[name] for name in names if name in made} for names in needs]
    after: dict[int, list[int]] = {}
    for index, sources in enumerate(before):
        for source in sources:
            after.setdefault(source, []).append(index)
    missing = [len(sources) for sources in before]
    ready = deque(index for index, count in enumerate(missing) if not count)
    done = 0
    while ready:
        done += 1
        for index in after.get(ready.popleft(), ()):
            missing[index] -= 1
            if not missing[index]:
                ready.append(index)
    if done < len(missing):
        index = next(i for i, count in enumerate(missing) if count)
        raise refuse(
            path, f"{where}, {_title(index, graph.node[index])}", "the graph has a cycle through this node"
        )


Key = tuple[str, str]


def _check_functions(proto: Any, path: Path) -> None:
    """Model-local functions may call each other, never themselves, and not multiply without bound."""
    calls: dict[Key, list[Key]] = {}
    for function in proto.functions:
        calls[function.domain, function.name] = list(_called(function.node, path))
    sizes: dict[Key, int] = {}
    for key in calls:
        _measure(key, calls, sizes, path)
    total = sum(sizes.get(key, 1) for key in _called(proto.graph.node, path))
    if total > MAX_EXPANDED:
        raise refuse(path, "ModelProto.functions", f"its functions expand to {total} nodes")


def _called(nodes: Any, path: Path) -> Iterator[Key]:
    for node in nodes:
        yield node.domain, node.op_type
        for inner in subgraphs(node):
            for graph in all_graphs(inner, path, 1):
                yield from ((item.domain, item.op_type) for item in graph.node)


def _measure(start: Key, calls: dict[Key, list[Key]], sizes: dict[Key, int], path: Path) -> None:
    """Nodes of a function once everything it calls is inlined; depth first on a stack of our own."""
    stack, open_calls = [start], set[Key]()
    while stack:
        key = stack[-1]
        if key in sizes:
            stack.pop()
            continue
        waiting = {called for called in calls[key] if called in calls and called not in sizes}
        if not waiting:
            sizes[key] = sum(sizes.get(called, 1) for called in calls[key])
            open_calls.discard(key)
            stack.pop()
            continue
        open_calls.add(key)
        if waiting & open_calls:
            raise refuse(path, f"function '{key[1]}'", "it calls itself")
        stack.extend(sorted(waiting))
