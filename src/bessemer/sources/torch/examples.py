"""Example inputs of a module: what the user gave, what --shape says, and the names of the tensors inside."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bessemer.ir.errors import UsageError
from bessemer.ir.types import Shape

Dims = tuple[int | str | tuple[int, int], ...]

FREE = 2
"""Size of a free axis in an example: torch takes 0 and 1 for fixed."""


@dataclass(frozen=True)
class Examples:
    """One call of a module. dynamic: as torch.export takes dynamic_shapes, by the names of forward's parameters."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    dynamic: Any = None

    def leaves(self, forward: Any) -> dict[str, Any]:
        """Tensors by name: the parameter's, with the keys and places inside it ('states_0')."""
        import torch
        import torch.utils._pytree as pytree

        named = {**dict(zip(_parameters(forward, len(self.args)), self.args, strict=False)), **self.kwargs}
        found: dict[str, Any] = {}
        for parameter, value in named.items():
            for path, leaf in pytree.tree_leaves_with_path(value):
                if isinstance(leaf, torch.Tensor):
                    found[path_name(parameter, path)] = leaf
        return found

    def fed(self, forward: Any, tensors: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """(args, kwargs) with other tensors in the same places."""
        import torch
        import torch.utils._pytree as pytree

        def refilled(parameter: str, value: Any) -> Any:
            pairs, tree = pytree.tree_flatten_with_path(value)
            new = [
                tensors[path_name(parameter, path)] if isinstance(leaf, torch.Tensor) else leaf for path, leaf in pairs
            ]
            return pytree.tree_unflatten(new, tree)

        names = _parameters(forward, len(self.args))
        args = tuple(refilled(name, value) for name, value in zip(names, self.args, strict=False))
        return args, {name: refilled(name, value) for name, value in self.kwargs.items()}


def path_name(lead: str, path: Any) -> str:
    """'states_0_h': a value's own name, then the keys and places that lead to one of its tensors."""
    parts = [str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", "")))) for key in path]
    return re.sub(r"\W+", "_", "_".join([lead, *parts]))


def _parameters(forward: Any, count: int) -> list[str]:
    """Names of the first parameters of forward; a starred one gives as many as are needed."""
    found: list[str] = []
    for parameter in inspect.signature(forward).parameters.values():
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            found += [f"{parameter.name}_{place}" for place in range(count - len(found))]
        elif parameter.kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD):
            found.append(parameter.name)
    return found


def from_given(given: Any, dynamic: Any = None) -> Examples:
    """What a user may call example inputs: a tensor, a tuple or list of positional ones, a dict by parameter name."""
    if isinstance(given, Examples):
        return given
    if isinstance(given, Mapping):
        return Examples((), dict(given), dynamic)
    if isinstance(given, (tuple, list)):
        return Examples(tuple(given), {}, dynamic)
    return Examples((given,), {}, dynamic)


def shaped(module: Any, given: Examples | None, shapes: Mapping[str, Dims], where: str) -> Examples:
    """The example inputs with the shapes that the user says; those alone where no example was given.

    Raises UsageError for a name that forward does not have, and where inputs are not known.
    """
    if given is not None and not shapes:
        return given
    if given is None:
        return _drawn(module, shapes, where)
    leaves = given.leaves(module.forward)
    unknown = next((name for name in shapes if name not in leaves), None)
    if unknown is not None:
        raise UsageError(f"--shape names the input '{unknown}', which {where} does not have",
                         fix=f"Its inputs are: {', '.join(leaves)}")  # fmt: skip
    new = {name: example_tensor(shapes[name], leaf.dtype) if name in shapes else leaf for name, leaf in leaves.items()}
    args, kwargs = given.fed(module.forward, new)
    free = _free(shapes)
    if not free:
        return replace(given, args=args, kwargs=kwargs)
    named = {**dict(zip(_parameters(module.forward, len(args)), args, strict=False)), **kwargs}
    if any(name not in named for name in free):
        raise UsageError("--shape can free the axes of inputs that are tensors themselves, not of nested ones",
                         fix="Give dynamic_shapes beside the example inputs")  # fmt: skip
    return Examples(args, kwargs, {name: free.get(name) for name in named})


def _drawn(module: Any, shapes: Mapping[str, Dims], where: str) -> Examples:
    """Inputs by forward's parameters: floats, of the shapes that are said."""
    parameters = inspect.signature(module.forward).parameters
    needed = [
        item.name for item in parameters.values()
        if item.default is item.empty and item.kind in (item.POSITIONAL_OR_KEYWORD, item.POSITIONAL_ONLY, item.KEYWORD_ONLY)
    ]  # fmt: skip
    missing = [name for name in needed if name not in shapes]
    unknown = [name for name in shapes if name not in parameters]
    if missing or unknown:
        said = " ".join(f"--shape {name}=1x3x224x224" for name in missing or needed)
        what = f"'{unknown[0]}' is no input of it" if unknown else f"{', '.join(missing)} would have to be guessed"
        raise UsageError(
            f"Nothing says what {where} is fed: {what}",
            fix=f"Give example inputs beside the module (return module, example_inputs from the factory), or say {said}",
        )
    kwargs = {name: example_tensor(shapes[name], None) for name in parameters if name in shapes}
    free = _free(shapes)
    return Examples((), kwargs, {name: free.get(name) for name in kwargs} if free else None)


def example_tensor(dims: Dims, dtype: Any) -> Any:
    """Random reals, or zeros of an integer type: a valid index in every table."""
    import torch

    sizes = [_size(dim) for dim in dims]
    if dtype is None or dtype.is_floating_point:
        generator = torch.Generator().manual_seed(0)
        return torch.rand(sizes, generator=generator).to(dtype or torch.float32)
    return torch.zeros(sizes, dtype=dtype)


def _size(dim: int | str | tuple[int, int]) -> int:
    if isinstance(dim, int):
        return dim
    return FREE if isinstance(dim, str) else min(max(dim[0], FREE), dim[1])


def _free(shapes: Mapping[str, Dims]) -> dict[str, dict[int, Any]]:
    """torch's dynamic dims of the axes that are named or ranges; one name is one dim."""
    from torch.export import Dim

    made: dict[str, Any] = {}
    found: dict[str, dict[int, Any]] = {}
    for name, dims in shapes.items():
        for axis, dim in enumerate(dims):
            if isinstance(dim, int):
                continue
            key = dim if isinstance(dim, str) else f"{name}_{axis}"
            limits = {} if isinstance(dim, str) else {"min": dim[0], "max": dim[1]}
            made.setdefault(key, Dim(re.sub(r"\W", "_", key), **limits))
            found.setdefault(name, {})[axis] = made[key]
    return found


def declared_axes(examples: Examples, forward: Any) -> dict[tuple[str, int], str]:
    """(tensor, axis) -> the name of the dim that the user declared for it."""
    import torch

    dynamic = examples.dynamic
    if not dynamic:
        return {}
    parameters = {**dict(zip(_parameters(forward, len(examples.args)), examples.args, strict=False)), **examples.kwargs}
    specs = dynamic if isinstance(dynamic, Mapping) else dict(zip(parameters, dynamic, strict=False))
    found: dict[tuple[str, int], str] = {}

    def walk(name: str, value: Any, spec: Any) -> None:
        if isinstance(value, torch.Tensor):
            axes = spec.items() if isinstance(spec, Mapping) else enumerate(spec) if isinstance(spec, (list, tuple)) else ()
            found.update({(name, axis): dim.__name__ for axis, dim in axes if hasattr(dim, "__name__")})
        elif isinstance(value, Mapping) and isinstance(spec, Mapping):
            for key in value:
                walk(re.sub(r"\W+", "_", f"{name}_{key}"), value[key], spec.get(key))
        elif isinstance(value, (list, tuple)) and isinstance(spec, (list, tuple)):
            for place, (item, part) in enumerate(zip(value, spec, strict=False)):
                walk(f"{name}_{place}", item, part)

    for name, value in parameters.items():
        walk(name, value, specs.get(name))
    return found


def free_shape(name: str, tensor: Any, axes: Mapping[tuple[str, int], str]) -> Shape:
    """A tensor's sizes, declared axes by their names."""
    return tuple(axes.get((name, axis), int(size)) for axis, size in enumerate(tensor.shape))
