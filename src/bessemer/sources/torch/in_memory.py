"""Modules and programs that live in the caller's Python: exported once, compared, saved as .pt2 for the child process."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bessemer.ir.errors import UsageError, VerificationFailed
from bessemer.sources.torch.examples import Examples, declared_axes, from_given
from bessemer.sources.torch.export import (
    axis_symbols,
    export_module,
    load_torch,
    named_outputs,
    outputs_of,
    tensors_out,
)
from bessemer.sources.torch.program import BORDERS
from bessemer.sources.torch.quantized import is_quantized
from bessemer.sources.torch.quiet import quiet

RELATIVE = {"float16": 2e-2, "bfloat16": 5e-2, "float64": 1e-9}
"""Largest difference that an exported program may have, in parts of the largest value; 1e-4 for other types."""


def save(held: Any, example_inputs: Any, dynamic_shapes: Any, folder: Path, name: str = "") -> Path:
    """A torch.nn.Module, or an ExportedProgram, as `folder/NAME.pt2`; NAME is its class's without another.

    Raises UsageError without example inputs, Declined where torch cannot export, VerificationFailed where the program does
    not answer as the module does.
    """
    torch = load_torch("Converting a PyTorch module")
    if isinstance(held, torch.export.ExportedProgram):
        return _written(held, {}, folder / f"{name or 'program'}.pt2")
    if not isinstance(held, torch.nn.Module):
        raise UsageError(f"{type(held).__name__} is neither a path nor a torch.nn.Module")
    if example_inputs is None:
        raise UsageError(
            f"{type(held).__name__} is a module, and nothing says what it is fed",
            fix="Give example_inputs: a tensor, a tuple of positional ones, or a dict by parameter name",
        )
    examples = from_given(example_inputs, dynamic_shapes)
    learning = held.training
    try:
        program = export_module(held, examples.args, examples.kwargs, examples.dynamic)
        _compare(held, program, examples)
    finally:
        held.train(learning)
    names = list(examples.leaves(held.forward))
    axes = axis_symbols(program, names, declared_axes(examples, held.forward))
    return _written(program, {"inputs": names, "axes": axes}, folder / f"{name or type(held).__name__}.pt2")


def _written(program: Any, borders: dict[str, Any], path: Path) -> Path:
    import torch

    with quiet():
        torch.export.save(program, str(path), extra_files={BORDERS: json.dumps(borders)})
    return path


def _compare(module: Any, program: Any, examples: Examples) -> None:
    """The program has frozen what Python decided while it was traced: here it must answer as the module does."""
    import copy

    import torch

    args, kwargs = copy.deepcopy((examples.args, dict(examples.kwargs)))
    saved = {name: item.clone() for name, item in module.named_buffers()}
    with quiet(), torch.no_grad():
        torch.manual_seed(0)
        wanted = named_outputs(module(*args, **kwargs), ())
        for name, item in module.named_buffers():
            item.copy_(saved[name])
        torch.manual_seed(0)
        args, kwargs = copy.deepcopy((examples.args, dict(examples.kwargs)))
        found = dict(zip(outputs_of(program), tensors_out(program, program.module()(*args, **kwargs)), strict=True))
    tensors = [item for item in found.values() if isinstance(item, torch.Tensor)]
    odd = _departures(list(wanted.items()), tensors, 2e-2 if is_quantized(module) else 0.0)  # a step of some codes
    if odd:
        raise VerificationFailed(
            f"The exported program of {type(module).__name__} does not answer as the module does",
            why="; ".join(odd),
            fix="Look for randomness, or for Python that decides by values, in its forward",
        )


def _departures(wanted: Sequence[tuple[str, Any]], found: Sequence[Any], least: float) -> list[str]:
    import torch

    if len(wanted) != len(found):
        return [f"{len(found)} outputs, the module has {len(wanted)}"]
    odd: list[str] = []
    for (name, first), second in zip(wanted, found, strict=True):
        if first.shape != second.shape or first.dtype != second.dtype:
            odd.append(f"{name} is {second.dtype} {list(second.shape)}, the module's {first.dtype} {list(first.shape)}")
            continue
        real, other = (item.dequantize() if item.is_quantized else item for item in (first, second))
        finite = real[torch.isfinite(real)].double().abs() if real.dtype.is_floating_point else real.double().abs()
        scale = float(finite.max()) if finite.numel() else 1.0
        part = max(RELATIVE.get(str(first.dtype).removeprefix("torch."), 1e-4), least)
        bound = part * max(scale, 1e-6)
        if not torch.allclose(real.double(), other.double(), rtol=0.0, atol=bound, equal_nan=True):
            odd.append(f"{name} differs by up to {float((real.double() - other.double()).abs().max()):.3g}")
    return odd
