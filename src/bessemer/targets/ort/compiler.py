"""The child side of the `ort` target: a crash of ONNX Runtime costs nothing here.

`python -m bessemer.targets.ort.compiler REQUEST.json` answers with one JSON object on its last line:
{"error": "", "nodes": []} or the runtime's message and every node that it has no kernel for.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LEVELS = {
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "layout": "ORT_ENABLE_LAYOUT",
    "all": "ORT_ENABLE_ALL",
}
NO_KERNEL = ("NOT_IMPLEMENTED", "Could not find an implementation", "is not a registered", "No Op registered")


def main() -> None:
    """Optimise as the request says."""
    request = json.loads(Path(sys.argv[1]).read_text())
    print(json.dumps(compile_file(request)))


def compile_file(request: dict[str, Any]) -> dict[str, Any]:
    """Write the optimised file; `request` holds source, optimized, level, external, ort (a path or '') and accuracy."""
    from bessemer.ir.errors import RuntimeRefused
    from bessemer.runners.onnxruntime import load_runtime, refusals

    runtime = load_runtime()
    source = Path(request["source"])
    try:
        with refusals(source):
            level = LEVELS[request["level"]]
            _save(runtime, source, request["optimized"], level, request["external"], accuracy=request["accuracy"])
            written = Path(request["optimized"])
            with _unreadable_result():
                _load(runtime, written)
            if request["ort"]:
                _save(runtime, written, request["ort"], "ORT_DISABLE_ALL", "", kind="ORT")
    except _UnreadableError as refusal:
        return {"error": f"it cannot read back the graph it optimised at this level: {refusal}", "nodes": []}
    except RuntimeRefused as refusal:
        return {"error": refusal.why, "nodes": list(unsupported_nodes(runtime, source))}
    return {"error": "", "nodes": []}


class _UnreadableError(Exception):
    """ONNX Runtime refuses its own result."""


@contextmanager
def _unreadable_result() -> Iterator[None]:
    from bessemer.ir.errors import RuntimeRefused
    from bessemer.runners.onnxruntime import refusals

    try:
        with refusals(Path("the optimised graph")):
            yield
    except RuntimeRefused as refusal:
        raise _UnreadableError(refusal.why) from None


def _load(runtime: Any, path: Path) -> None:
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _save(
    runtime: Any, source: Path, result: str, level: str, external: str, kind: str = "ONNX", accuracy: str = "0"
) -> None:
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = getattr(runtime.GraphOptimizationLevel, level)
    options.optimized_model_filepath = result
    options.add_session_config_entry("session.save_model_format", kind)
    # products of weights in blocks become MatMulNBits, which would compute in int8 by default
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", accuracy)
    if external:
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", external)
        options.add_session_config_entry(
            "session.optimized_model_external_initializers_min_size_in_bytes", "1024"
        )
    runtime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])


def unsupported_nodes(runtime: Any, source: Path) -> Iterator[dict[str, str]]:
    """Every node whose operator ONNX Runtime has no kernel for at its types, each tried alone."""
    import onnx_ir

    from bessemer.ir.model import layer_of

    model = onnx_ir.load(source)
    answers: dict[tuple[Any, ...], str] = {}
    for node in model.graph.all_nodes():
        key = _kind(node)
        if key is None or node.op_identifier() in model.functions:
            continue
        if key not in answers:
            answers[key] = _refusal(runtime, _alone(node, model))
        if answers[key]:
            yield {
                "node": node.name or "",
                "op": node.op_type,
                "layer": layer_of(node),
                "reason": answers[key],
            }


def _kind(node: Any) -> tuple[Any, ...] | None:
    """What a kernel is chosen by; None when unknown, or for a node with subgraphs (their nodes are tried)."""
    import onnx_ir

    graphs = (onnx_ir.AttributeType.GRAPH, onnx_ir.AttributeType.GRAPHS)
    if any(attribute.type in graphs for attribute in node.attributes.values()):
        return None
    types = tuple(None if value is None else value.type for value in node.inputs)
    if any(value is not None and value.type is None for value in (*node.inputs, *node.outputs)):
        return None
    return node.domain, node.op_type, tuple(map(str, types)), tuple(str(value.type) for value in node.outputs)


def _alone(node: Any, model: Any) -> bytes:
    """A model of one node whose inputs are all fed."""
    import onnx
    import onnx_ir

    fed = {value.name: value for value in node.inputs if value is not None}
    proto = onnx_ir.serde.serialize_node(node)
    graph = onnx.helper.make_graph(
        [proto],
        "alone",
        [_info(value) for value in fed.values()],
        [_info(value) for value in node.outputs if value.name],
    )
    imports = [onnx.helper.make_opsetid(domain, version) for domain, version in model.opset_imports.items()]
    alone = onnx.helper.make_model(graph, opset_imports=imports, ir_version=model.ir_version)
    return bytes(alone.SerializeToString())


def _info(value: Any) -> Any:
    import onnx_ir

    return onnx_ir.serde.serialize_value(onnx_ir.Value(name=value.name, type=value.type))


def _refusal(runtime: Any, model: bytes) -> str:
    """Why ONNX Runtime has no kernel for the one node; empty when it has, or when something else is wrong."""
    from bessemer.ir.errors import RuntimeRefused
    from bessemer.runners.onnxruntime import refusals

    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        with refusals(Path("node")):
            runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except RuntimeRefused as refusal:
        return refusal.why if any(text in refusal.why for text in NO_KERNEL) else ""
    return ""


if __name__ == "__main__":
    main()
