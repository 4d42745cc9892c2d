"""PyTorch: .pt2 programs, TorchScript, modules that Python code builds, and state dicts for them.

Whatever it is, torch.export and onnxscript's exporter write the nodes (`export`), and the original runs in torch (`run`).
Files of weights are read without unpickling (`bessemer.wire.torchzip`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bessemer.ir.errors import UsageError
from bessemer.ir.model import Model, Origin
from bessemer.ir.signature import Signature, TensorSpec
from bessemer.sources.base import HEAD, Clue, OpenOptions
from bessemer.sources.torch.kinds import Kind, kind_of

if TYPE_CHECKING:
    from bessemer.runners.base import Runner
    from bessemer.sources.torch.examples import Examples


class TorchSource:
    """Reads what PyTorch writes; see `Source`."""

    def open(self, path: Path, options: OpenOptions) -> Model:
        """The model of a program, a script or a built module. Raises UnreadableInput, UsageError, Declined, MissingExtra."""
        kind = _kind(path)
        if kind == "program":
            return _open_program(path)
        if kind == "script":
            return _open_script(path, options)
        return _open_module(_built(path, options, kind), path, kind)

    def runner(self, path: Path, options: OpenOptions) -> Runner:
        """The original in PyTorch, with the names of the model's borders."""
        if options.original == "reference":
            raise UsageError("PyTorch's originals run in PyTorch alone: there is no reference evaluator of them",
                             fix="Leave --original away, or say --original runtime")  # fmt: skip
        kind = _kind(path)
        if kind == "program":
            return _program_runner(path)
        if kind == "script":
            return _script_runner(path, options)
        return _module_runner(_built(path, options, kind))


def _kind(path: Path) -> Kind:
    with path.open("rb") as file:
        return kind_of(Clue(path, file.read(HEAD)))


@dataclass(frozen=True)
class _Module:
    """A module with its example inputs, and what was said while it was built."""

    module: Any
    examples: Examples
    notes: list[str] = field(default_factory=list)


def _built(path: Path, options: OpenOptions, kind: Kind) -> _Module:
    """The module of a factory, with the weights of `path` where that is a state dict."""
    from bessemer.sources.torch.examples import shaped
    from bessemer.sources.torch.export import load_torch
    from bessemer.sources.torch.weights import fill, load, without_factory

    tensors = None if kind == "module" else load(path)
    if options.factory is None:
        if tensors is not None:
            raise without_factory(path, tensors)
        raise UsageError(f"{path} is Python code; which function in it builds the module is not said",
                         fix=f"Say {path}:FUNCTION")  # fmt: skip
    load_torch("Building a PyTorch module")
    from bessemer.sources.torch.factory import build

    built = build(options.factory)
    notes = [] if tensors is None else fill(built.module, tensors, path, options.signature)
    built.module.eval()
    examples = shaped(built.module, built.examples, options.shapes, options.factory)
    return _Module(built.module, _as_precise(examples, built.module), notes)


def _as_precise(examples: Examples, module: Any) -> Examples:
    """Real inputs in the type of the weights, where all of those have one other than float32."""
    import torch

    held = {item.dtype for item in module.state_dict().values() if item.dtype.is_floating_point}
    if len(held) != 1 or held == {torch.float32}:
        return examples
    (kind,) = held
    leaves = examples.leaves(module.forward)
    new = {name: leaf.to(kind) if leaf.dtype == torch.float32 else leaf for name, leaf in leaves.items()}
    args, kwargs = examples.fed(module.forward, new)
    return type(examples)(args, kwargs, examples.dynamic)


def _open_module(built: _Module, path: Path, kind: Kind) -> Model:
    from bessemer.sources.torch.export import module_model

    origin = Origin("torch", path, {"module": type(built.module).__qualname__, "producer": _producer()})
    model = module_model(built.module, built.examples, origin)
    model.notes[:0] = built.notes
    return model


def _open_program(path: Path) -> Model:
    from bessemer.sources.torch.export import to_model
    from bessemer.sources.torch.program import load_program

    held = load_program(path)
    origin = Origin("torch", path, {"producer": _producer()})
    return to_model(held.program, origin=origin, input_names=held.inputs, axis_names=held.axes)


def _producer() -> str:
    import torch

    return f"PyTorch {torch.__version__}"


def _program_runner(path: Path) -> Runner:
    import torch
    import torch.utils._pytree as pytree

    from bessemer.sources.torch.export import (
        border_specs,
        exporters_program,
        inputs_of,
        outputs_of,
        tensors_out,
    )
    from bessemer.sources.torch.program import load_program
    from bessemer.sources.torch.run import TorchOriginal, tapped

    loaded = load_program(path)
    program = loaded.program
    signature = border_specs(program, loaded.inputs)
    module = program.module()
    names, outputs = [spec.name for spec in signature.inputs], outputs_of(program)
    flat = _constants(program)
    values = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    own = dict(zip(names, inputs_of(program), strict=True))
    numbers = {name for name in names if not isinstance(values[own[name]], torch.Tensor)}

    def leaves(given: dict[str, Any]) -> list[Any]:
        fed = iter(given[name].item() if name in numbers else given[name] for name in names)
        return [next(fed) if constant is _FED else constant for constant in flat]

    def call(given: dict[str, Any]) -> dict[str, Any]:
        args, kwargs = pytree.tree_unflatten(leaves(given), program.call_spec.in_spec)
        return dict(zip(outputs, tensors_out(program, module(*args, **kwargs)), strict=True))

    plain = cache(lambda: exporters_program(program))

    def taps(given: dict[str, Any], wanted: Sequence[str]) -> dict[str, Any]:
        return tapped(plain(), leaves(given), wanted)

    return TorchOriginal(module, call, signature, "exported program", taps)


_FED = object()


def _constants(program: Any) -> list[Any]:
    """The flattened inputs of a program: constants as they are, `_FED` where a tensor or number is fed."""
    specs = [spec for spec in program.graph_signature.input_specs if spec.kind.name == "USER_INPUT"]
    return [spec.arg.value if type(spec.arg).__name__ == "ConstantArgument" else _FED for spec in specs]


def _module_runner(built: _Module) -> Runner:
    import torch.utils._pytree as pytree

    from bessemer.sources.torch.examples import declared_axes, free_shape
    from bessemer.sources.torch.export import export_module, exporters_program, named_outputs
    from bessemer.sources.torch.run import TorchOriginal, spec_of, tapped

    module, examples = built.module, built.examples
    leaves = examples.leaves(module.forward)
    axes = declared_axes(examples, module.forward)

    def call(given: dict[str, Any]) -> dict[str, Any]:
        args, kwargs = examples.fed(module.forward, given)
        return named_outputs(module(*args, **kwargs), list(leaves))

    @cache
    def plain() -> Any:
        return exporters_program(export_module(module, examples.args, examples.kwargs, examples.dynamic))

    def taps(given: dict[str, Any], wanted: Sequence[str]) -> dict[str, Any]:
        return tapped(plain(), pytree.tree_leaves(examples.fed(module.forward, given)), wanted)

    inputs = tuple(spec_of(name, leaf, free_shape(name, leaf, axes)) for name, leaf in leaves.items())
    answered = TorchOriginal(module, call, Signature(inputs, ())).run({name: _array(leaf) for name, leaf in leaves.items()})
    outputs = tuple(TensorSpec(name, item.dtype.name, (None,) * item.ndim) for name, item in answered.items())
    return TorchOriginal(module, call, Signature(inputs, outputs), taps=taps)


def _array(leaf: Any) -> Any:
    from bessemer.sources.torch.run import to_numpy

    return to_numpy(leaf)


def _script_examples(module: Any, path: Path, options: OpenOptions) -> tuple[Examples, list[str]]:
    """Inputs of a script by its own schema, of the shapes that the user says."""
    from bessemer.sources.torch.examples import Examples, example_tensor
    from bessemer.sources.torch.script import parameters_of

    needed = parameters_of(module)
    names = [name for name in needed if name in options.shapes]
    unknown = [name for name in options.shapes if name not in needed]
    if names != needed or unknown:
        said = " ".join(f"--shape {name}=1x3x224x224" for name in needed if name not in names)
        raise UsageError(
            f"A TorchScript file says nothing of its inputs' sizes: {path} takes {', '.join(needed) or 'no input'}",
            why=f"'{unknown[0]}' is not among them" if unknown else "",
            fix=f"Say {said}" if said else "Name its inputs as it does",
        )
    return Examples(tuple(example_tensor(options.shapes[name], None) for name in names)), names


def _open_script(path: Path, options: OpenOptions) -> Model:
    import torch

    from bessemer.sources.torch.export import named_outputs
    from bessemer.sources.torch.script import load_script, script_model

    module = load_script(path)
    examples, names = _script_examples(module, path, options)
    with torch.no_grad():
        outputs = list(named_outputs(module(*examples.args), names))
    origin = Origin("torch", path, {"producer": f"TorchScript, {_producer()}"})
    return script_model(module, examples, origin, names, outputs)


def _script_runner(path: Path, options: OpenOptions) -> Runner:
    from bessemer.sources.torch.export import named_outputs
    from bessemer.sources.torch.run import TorchOriginal, spec_of
    from bessemer.sources.torch.script import load_script

    module = load_script(path)
    examples, names = _script_examples(module, path, options)

    def call(given: dict[str, Any]) -> dict[str, Any]:
        return named_outputs(module(*(given[name] for name in names)), names)

    inputs = tuple(spec_of(name, leaf) for name, leaf in zip(names, examples.args, strict=True))
    answered = TorchOriginal(module, call, Signature(inputs, ()), "TorchScript").run(
        {spec.name: _array(leaf) for spec, leaf in zip(inputs, examples.args, strict=True)}
    )
    outputs = tuple(TensorSpec(name, item.dtype.name, (None,) * item.ndim) for name, item in answered.items())
    return TorchOriginal(module, call, Signature(inputs, outputs), "TorchScript")


SOURCE = TorchSource()
