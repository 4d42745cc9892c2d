"""Variables that a run-once subgraph sets: constants, as long as nothing else assigns them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bessemer.sources.tflite.context import Context, Unsupported, options
from bessemer.sources.tflite.ops.control import Inner
from bessemer.sources.tflite.registry import op
from bessemer.sources.tflite.tensors import encoding_for

if TYPE_CHECKING:
    from bessemer.wire.tflite.records import Model, Operator, SubGraph


class Setup(Inner):
    """A subgraph that runs once, before anything else: only here may a variable be set."""


@op("CALL_ONCE")
def call_once(context: Context, operator: Operator) -> None:
    """The subgraph is emitted in place; what it stores is remembered."""
    if isinstance(context, Inner):
        raise Unsupported("call-once", "it runs once inside a branch or a loop")
    inner = Setup(context, int(options(operator)["init_subgraph_index"]))
    inner.nodes, inner.initializers = context.nodes, context.initializers
    inner.run([])


@op("VAR_HANDLE")
def var_handle(context: Context, operator: Operator) -> None:
    """A variable goes by its container and name."""
    context.handles[operator.outputs[0]] = _name(operator)


def _name(operator: Operator) -> tuple[str, str, str]:
    fields = options(operator)
    return "variable", fields.get("container") or "", fields.get("shared_name") or ""


def _handle(context: Context, index: int) -> tuple[Any, ...]:
    held = context.handles.get(index)
    if held is None:
        raise Unsupported(
            "resource-operand", f"the resource '{context.name(index)}' is handed over from elsewhere"
        )
    return held


@op("ASSIGN_VARIABLE")
def assign_variable(context: Context, operator: Operator) -> None:
    """Only while the model is set up."""
    handle = _handle(context, operator.inputs[0])
    if not isinstance(context, Setup):
        reason = f"the variable '{handle[-1]}' is assigned while the model runs; an ONNX graph keeps no state between calls"
        raise Unsupported(
            "stateful-variable", reason, "give the state as an input and return it as an output"
        )
    context.resources[handle] = (context, operator.inputs[1])


@op("READ_VARIABLE")
def read_variable(context: Context, operator: Operator) -> None:
    """The value that the variable was set up with."""
    handle, result = _handle(context, operator.inputs[0]), operator.outputs[0]
    writer = assigned_later(context.file, handle)
    if writer is not None:
        reason = f"the variable '{handle[-1]}' is assigned again in subgraph {writer}, so its value depends on earlier calls"
        raise Unsupported(
            "stateful-variable", reason, "give the state as an input and return it as an output"
        )
    if handle not in context.resources:
        raise Unsupported("unset-variable", f"nothing sets the variable '{handle[-1]}' before it is read")
    setup, index = context.resources[handle]
    if encoding_for(setup.tensor(index)) != encoding_for(context.tensor(result)):
        raise Unsupported(
            "variable-encoding", f"'{handle[-1]}' is read under another quantization than it was set"
        )
    context.result(result, context.emit("Identity", [setup.value(index)]))


def assigned_later(file: Model, handle: tuple[Any, ...]) -> int | None:
    """A subgraph that assigns the variable and is not a set-up of the model."""
    from bessemer.sources.tflite import operator_name

    once = {
        int(options(item)["init_subgraph_index"])
        for graph in file.subgraphs
        for item in graph.operators
        if operator_name(file, item) == "CALL_ONCE"
    }
    others = (number for number in range(len(file.subgraphs)) if number not in once)
    return next((number for number in others if handle in _assigned(file, file.subgraphs[number])), None)


def _assigned(file: Model, graph: SubGraph) -> set[tuple[Any, ...] | None]:
    from bessemer.sources.tflite import operator_name

    names = [(operator_name(file, item), item) for item in graph.operators]
    handles = {item.outputs[0]: _name(item) for name, item in names if name == "VAR_HANDLE"}
    return {handles.get(item.inputs[0]) for name, item in names if name == "ASSIGN_VARIABLE"}


@op("HASHTABLE", "HASHTABLE_IMPORT", "HASHTABLE_FIND", "HASHTABLE_SIZE")
def hashtable(context: Context, operator: Operator) -> None:
    """LiteRT's Python package registers no kernel for them: nothing could be held against the original."""
    raise Unsupported(
        "hashtable", "look-up tables have no kernel in LiteRT's Python runtime, so no conversion could be verified",
        "look words up before the model and give it their numbers",
    )  # fmt: skip
