"""torch.export's programs as models: the exporter of onnxscript writes the nodes, in memory, weights shared with torch.

`to_model` is what every source that ends in torch calls (.pt2, TorchScript, modules, Hugging Face directories).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bessemer.ir.errors import Blocker, Declined, MissingExtra
from bessemer.ir.model import Model, Origin, tag
from bessemer.ir.signature import Signature
from bessemer.sources.torch.examples import Examples, declared_axes
from bessemer.sources.torch.quiet import quiet

if TYPE_CHECKING:
    import onnx_ir

SCOPES = "pkg.torch.onnx.name_scopes"
"""Where the exporter says which modules a node came from: the text of a list, the outermost first, the node's name last."""

HOOK = "_empty_nn_module_stack_from_metadata_hook"
"""A name that torch gives nodes of no module."""


def load_torch(needed_for: str = "Reading PyTorch programs") -> Any:
    """The torch module, with the exporter's package beside it. Raises MissingExtra."""
    for package in ("torch", "onnxscript"):
        try:
            __import__(package)
        except ImportError:
            raise MissingExtra(package, extra="torch", needed_for=needed_for) from None
    import torch

    return torch


def export_module(
    module: Any,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    dynamic_shapes: Any = None,
) -> Any:
    """The ExportedProgram of a module in evaluation mode, traced on example inputs.

    dynamic_shapes: as torch.export takes it. Raises Declined where torch cannot capture the module.
    """
    from bessemer.sources.torch.quantized import is_quantized, reference_of

    torch = load_torch("Exporting a PyTorch module")
    module.eval()
    if is_quantized(module):
        with quiet():
            module = reference_of(module, args, kwargs or {})
    given = {"kwargs": dict(kwargs or {}), "dynamic_shapes": dynamic_shapes}
    first: Exception | None = None
    for strict in (False, True):  # tracing is faster and sees less of Python; the bytecode reader is the second try
        try:
            with quiet(), torch.no_grad():
                return torch.export.export(module, tuple(args), strict=strict, **given)
        except Exception as error:  # noqa: BLE001  # torch raises anything, from the module's own code, too
            first = first or error
    assert first is not None
    reason = f"torch.export cannot capture it: {cause(first)}"
    rewrite = "a forward without data-dependent Python, or other example inputs or dynamic shapes"
    blocker = Blocker("", type(module).__name__, "torch-export", reason, rewrite=rewrite)
    raise Declined("torch.export", [blocker]) from None


def to_model(
    source: Any,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    dynamic_shapes: Any = None,
    *,
    origin: Origin,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    axis_names: Mapping[str, str] | None = None,
) -> Model:
    """The canonical-to-be model of an ExportedProgram, or of a module that is exported first.

    args, kwargs, dynamic_shapes: of a module alone, as torch.export takes them.
    input_names, output_names: replace what the program says, in the order of its flattened tensors (`inputs_of`,
    `outputs_of`); axis_names: dim as the program calls it ('s77') -> name.
    Weights are torch's own storage, not copies. Raises MissingExtra, and Declined with every operator that the
    exporter has no translation for.
    """
    torch = load_torch()
    program = source
    if not isinstance(source, torch.export.ExportedProgram):
        program = export_module(source, args, kwargs, dynamic_shapes)
    _refuse_complex_borders(program)
    written = _translate(program)
    graph: onnx_ir.Model = written.model
    name_borders(graph, list(input_names or inputs_of(program)), list(output_names or outputs_of(program)))
    _rename_axes(graph, {**_axes_by_input(graph), **(axis_names or {})})
    _tag_layers(graph)
    _settle_scales(graph)
    return Model(graph, origin, _state_notes(written.exported_program))


def inputs_of(program: Any) -> list[str]:
    """Names of the tensors (and numbers) that an ExportedProgram is fed, flattened; constants left out."""
    specs = program.graph_signature.input_specs
    return [spec.arg.name for spec in specs if spec.kind.name == "USER_INPUT" and not _fixed(spec)]


def outputs_of(program: Any) -> list[str]:
    """Names of what an ExportedProgram answers, flattened: the keys that lead to a tensor ('logits', 'states_0').

    A single tensor without a key is 'output'; constants are left out.
    """
    import torch.utils._pytree as pytree

    specs = [spec for spec in program.graph_signature.output_specs if spec.kind.name == "USER_OUTPUT"]
    leaves = pytree.tree_leaves_with_path(pytree.tree_unflatten(specs, program.call_spec.out_spec))
    kept = [path for path, spec in leaves if not _fixed(spec)]
    return _distinct([_path_name(path, len(specs) == 1) for path in kept], inputs_of(program))


def named_outputs(value: Any, taken: Sequence[str]) -> dict[str, Any]:
    """The tensors in what a module answers, by the names that `outputs_of` gives its program. taken: the inputs' names."""
    import torch
    import torch.utils._pytree as pytree

    leaves = pytree.tree_leaves_with_path(value)
    kept = [(path, leaf) for path, leaf in leaves if isinstance(leaf, torch.Tensor)]
    names = _distinct([_path_name(path, len(leaves) == 1) for path, _ in kept], taken)
    return dict(zip(names, (leaf for _, leaf in kept), strict=True))


def tensors_out(program: Any, value: Any) -> list[Any]:
    """What a program answers, flattened, constants left out: one for each of `outputs_of`."""
    import torch.utils._pytree as pytree

    specs = [spec for spec in program.graph_signature.output_specs if spec.kind.name == "USER_OUTPUT"]
    return [leaf for leaf, spec in zip(pytree.tree_leaves(value), specs, strict=True) if not _fixed(spec)]


def border_specs(program: Any, input_names: Sequence[str] | None = None) -> Signature:
    """Names, types and shapes of a program's inputs and outputs; free axes by torch's symbols."""
    from bessemer.sources.torch.run import spec_of

    held = {node.name: node.meta.get("val") for node in program.graph.nodes}
    signature = program.graph_signature
    fed = [spec for spec in signature.input_specs if spec.kind.name == "USER_INPUT" and not _fixed(spec)]
    given = [spec for spec in signature.output_specs if spec.kind.name == "USER_OUTPUT" and not _fixed(spec)]
    inputs = [spec_of(name, held[spec.arg.name]) for name, spec in zip(input_names or inputs_of(program), fed, strict=True)]
    outputs = [spec_of(name, held[spec.arg.name]) for name, spec in zip(outputs_of(program), given, strict=True)]
    return Signature(tuple(inputs), tuple(outputs))


def module_model(module: Any, examples: Examples, origin: Origin) -> Model:
    """The model of a module with example inputs, its borders named by forward's parameters and the answer's keys."""
    program = export_module(module, examples.args, examples.kwargs, examples.dynamic)
    names = list(examples.leaves(module.forward))
    fed = inputs_of(program)
    if len(fed) != len(names):
        reason = f"it takes the inputs {', '.join(fed)}; the examples hold {', '.join(names)}"
        rewrite = "tensors alone as inputs, numbers fixed inside of the module"
        raise Declined("torch.export", [Blocker("", type(module).__name__, "torch-export", reason, rewrite=rewrite)])
    axes = axis_symbols(program, names, declared_axes(examples, module.forward))
    return to_model(program, origin=origin, input_names=names, axis_names=axes)


def axis_symbols(program: Any, names: Sequence[str], declared: Mapping[tuple[str, int], str]) -> dict[str, str]:
    """How torch calls the free axes ('s77') -> how the user does. declared: (input, axis) -> name."""
    fed = dict(zip(names, inputs_of(program), strict=True))
    found = {_symbol(program, fed[name], axis): said for (name, axis), said in declared.items()}
    return {symbol: said for symbol, said in found.items() if symbol}


def _symbol(program: Any, placeholder: str, axis: int) -> str:
    """How torch calls the size of an input's axis; '' where it is a number or an expression."""
    value = next(node.meta["val"] for node in program.graph.nodes if node.name == placeholder)
    text = str(value.shape[axis])
    return text if re.fullmatch(r"[A-Za-z_]\w*", text) else ""


def _fixed(spec: Any) -> bool:
    """Whether a border of the program is a constant (None, a number fixed by tracing): nothing is fed or answered."""
    return type(spec.arg).__name__ == "ConstantArgument"


def _path_name(path: Sequence[Any], single: bool) -> str:
    """'logits', 'states_0', 'output_1': the keys and places of a pytree path."""
    parts = [str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", "")))) for key in path]
    named = bool(path) and not hasattr(path[0], "idx")
    if not named and (not parts or (single and len(parts) == 1)):
        return "output"
    text = "_".join(parts if named else ["output", *parts])
    return re.sub(r"\W+", "_", text)


def _distinct(names: list[str], taken: Sequence[str]) -> list[str]:
    """Each name once, and none of `taken`: a number is put behind the later ones."""
    used = set(taken)
    for place, name in enumerate(names):
        new, count = name, 1
        while new in used:
            count += 1
            new = f"{name}_{count}"
        used.add(new)
        names[place] = new
    return names


def _translate(program: Any) -> Any:
    """The exporter's ONNXProgram, at the newest opset that it writes. Raises Declined with all that it cannot."""
    import torch

    from bessemer.sources.torch.translations import table

    try:
        with quiet(), torch.no_grad():
            return torch.onnx.export(
                program, dynamo=True, optimize=False, verbose=False, opset_version=_opset(), custom_translation_table=table()
            )
    except Exception as error:  # noqa: BLE001  # the exporter's border: its errors share no base with torch's own
        from bessemer.sources.torch.blockers import blockers_of

        raise Declined("torch's ONNX exporter", blockers_of(program, _opset(), cause(error))) from None


def exporters_program(program: Any) -> Any:
    """The program whose nodes the exporter's values are named after: decomposed as it does. Raises Declined."""
    return _translate(program).exported_program


def _opset() -> int:
    """The newest opset that both the exporter and the canonical form know."""
    from torch.onnx._constants import ONNX_MAX_OPSET

    from bessemer.ir.canonical import OPSET

    return min(int(ONNX_MAX_OPSET), OPSET)


def _refuse_complex_borders(program: Any) -> None:
    """The exporter would hand complex tensors in and out as pairs of reals: another signature than the original's."""
    import torch

    held = {node.name: node.meta.get("val") for node in program.graph.nodes}
    specs = (*program.graph_signature.input_specs, *program.graph_signature.output_specs)
    named = [spec.arg.name for spec in specs if spec.kind.name in ("USER_INPUT", "USER_OUTPUT") and not _fixed(spec)]
    found = [name for name in named if isinstance(held.get(name), torch.Tensor) and held[name].dtype.is_complex]
    if found:
        reason = "it is complex, and neither ONNX's operators nor the targets take complex tensors"
        rewrite = "torch.view_as_real outside of the model"
        blockers = [Blocker(name, "border", "no-complex-values", reason, rewrite=rewrite) for name in found]
        raise Declined("the canonical graph", blockers)


def name_borders(graph: onnx_ir.Model, inputs: list[str], outputs: list[str]) -> None:
    """Border values get their names; an output that is an input, a weight or another output becomes an Identity."""
    main = graph.graph
    borders = {*inputs, *outputs}
    for value in [*main.inputs, *main.initializers.values(), *(value for node in main for value in node.outputs)]:
        if value.name in borders:
            _rename(value, f"{value.name}__inner")
    for value, name in zip(main.inputs, inputs, strict=True):
        _rename(value, name)
    seen: set[onnx_ir.Value] = set()
    for place, (value, name) in enumerate(zip(list(main.outputs), outputs, strict=True)):
        if value in seen or value.producer() is None:
            value = main.outputs[place] = _copied(main, value)
        seen.add(value)
        _rename(value, name)


def _rename(value: onnx_ir.Value, name: str) -> None:
    """A weight keeps its place under the new name."""
    graph = value.graph if value.is_initializer() else None
    if graph is not None and value.name is not None:
        graph.initializers.pop(value.name)
    value.name = name
    if graph is not None:
        graph.initializers.add(value)


def _copied(graph: onnx_ir.Graph, value: onnx_ir.Value) -> onnx_ir.Value:
    import onnx_ir

    node = onnx_ir.node("Identity", [value])
    node.outputs[0].type, node.outputs[0].shape = value.type, value.shape
    graph.append(node)
    return node.outputs[0]


def _axes_by_input(graph: onnx_ir.Model) -> dict[str, str]:
    """torch's symbols ('s77') say nothing: the first input and axis that have one give it a name."""
    found: dict[str, str] = {}
    for value in graph.graph.inputs:
        for axis, dim in enumerate(value.shape or ()):
            symbol = dim if isinstance(dim, int) else dim.value
            if isinstance(symbol, str) and re.fullmatch(r"s\d+", symbol):
                found.setdefault(symbol, f"{value.name}_{axis}")
    return found


def _rename_axes(graph: onnx_ir.Model, names: Mapping[str, str]) -> None:
    """Symbols of torch become the user's dim names, inside expressions, too ('2*s77')."""
    import onnx_ir

    if not names:
        return
    pattern = re.compile(r"\b(" + "|".join(map(re.escape, names)) + r")\b")
    values = [*graph.graph.inputs, *(value for node in graph.graph.all_nodes() for value in node.outputs)]
    for value in values:
        if value.shape is None:
            continue
        said = [dim if isinstance(dim, int) else dim.value for dim in value.shape]
        new = [pattern.sub(lambda hit: names[hit[0]], dim) if isinstance(dim, str) else dim for dim in said]
        if new != said:
            value.shape = onnx_ir.Shape(new)


def _tag_layers(graph: onnx_ir.Model) -> None:
    """Nodes get their module's qualified name; the exporter's own notes (stack traces with paths in them) go."""
    parts = [graph.graph, *graph.graph.subgraphs(), *(function.graph for function in graph.functions.values())]
    for part in parts:
        part.metadata_props.clear()
        for node in part:
            layer = _layer(node.metadata_props.get(SCOPES, ""))
            node.metadata_props.clear()
            node.meta.clear()
            tag(node, layer)
        for value in (*part.inputs, *part.initializers.values(), *(value for node in part for value in node.outputs)):
            value.metadata_props.clear()
            value.meta.clear()
    graph.metadata_props.clear()


def _settle_scales(graph: onnx_ir.Model) -> None:
    """Scales and zero points that the exporter casts (torch keeps them in float64 and int64) are constants."""
    import onnx_ir

    main = graph.graph
    for node in list(main):
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        for place in range(1, len(node.inputs)):
            given = node.inputs[place]
            cast = given.producer() if given is not None else None
            source = cast.inputs[0] if cast is not None and cast.op_type in ("Cast", "CastLike") else None
            if given is None or source is None or source.const_value is None or place == 0:
                continue
            kind = onnx_ir.DataType(cast.attributes["to"].as_int()) if cast and "to" in cast.attributes else given.dtype
            if kind is None:
                continue
            array = source.const_value.numpy().astype(kind.numpy())
            value = onnx_ir.Value(name=f"{given.name}_settled", const_value=onnx_ir.tensor(array, dtype=kind))
            value.type, value.shape = onnx_ir.TensorType(kind), onnx_ir.Shape(array.shape)
            main.initializers.setdefault(value.name or "", value)
            node.replace_input_with(place, main.initializers[value.name or ""])


def _layer(scopes: str) -> str:
    """The innermost module of "['', 'blocks.0', 'linear']"; for the outermost module's own operators, their name."""
    names: list[str] = [name for name in re.findall(r"'([^']*)'", scopes) if name != HOOK]
    if len(names) < 2:
        return names[0] if names else ""
    return names[-2] or names[-1]


def _state_notes(program: Any) -> list[str]:
    """What forward writes into buffers or inputs is not carried from call to call."""
    signature = program.graph_signature
    written = sorted({*signature.buffers_to_mutate.values(), *signature.user_inputs_to_mutate.values()})
    if not written:
        return []
    return [f"forward writes into {', '.join(written)}: in the converted model every call starts from the saved values"]


def cause(error: BaseException) -> str:
    """First lines of the innermost reason, as one sentence."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300] or type(error).__name__
