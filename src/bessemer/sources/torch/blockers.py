"""Why torch's exporter gave up, in all places at once: it stops at the first one itself."""

from __future__ import annotations

from typing import Any

from bessemer.ir.errors import Blocker
from bessemer.sources.torch.quiet import quiet


def blockers_of(program: Any, opset: int, cause: str) -> list[Blocker]:
    """One blocker per operator of the decomposed program that has no translation; the exporter's own words where it
    fails for another reason.
    """
    rewrite = "an operator of torch that has an ONNX form, in the module's forward"
    found = [
        Blocker(node.name, str(node.target), "torch-translation", "the exporter has no ONNX form of it", layer, rewrite)
        for node, layer in _untranslated(program, opset)
    ]
    return found or [Blocker("", "ExportedProgram", "torch-translation", f"the exporter failed: {cause}", rewrite=rewrite)]


def _untranslated(program: Any, opset: int) -> list[tuple[Any, str]]:
    """Nodes without a translation after decomposition, each with its module's name."""
    from torch.onnx._internal.exporter import _core, _dispatching, _registration

    from bessemer.sources.torch.translations import table

    try:
        with quiet():
            registry = _registration.ONNXRegistry.from_torchlib(opset_version=opset)
            for target, function in table().items():
                registry.register_op(target, function)
            plain = _core._prepare_exported_program_for_export(program, registry=registry)
    except Exception:  # noqa: BLE001  # the decompositions are what failed: the cause that is known has to do
        return []
    graphs = [module.graph for module in plain.graph_module.modules() if hasattr(module, "graph")]
    nodes = [node for graph in graphs for node in graph.nodes if node.op == "call_function"]
    return [(node, _module_of(node)) for node in nodes if not _known(node, registry, _dispatching)]


def _known(node: Any, registry: Any, dispatching: Any) -> bool:
    if getattr(node.target, "__module__", "") == "_operator" and node.target.__name__ == "getitem":
        return True
    if getattr(node.target, "namespace", "") == "onnx":
        return True
    function, _ = dispatching.dispatch(node, registry)
    return function is not None


def _module_of(node: Any) -> str:
    """Qualified name of the innermost module that the node was traced in."""
    stack = node.meta.get("nn_module_stack") or {}
    names = [str(entry[0]) for entry in stack.values()]
    return names[-1] if names else ""
