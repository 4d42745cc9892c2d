"""Which arrays of a file belong to which layer, in the order of Keras's own `layer.weights`.

Old files (.h5) list the names of a layer's weights, those of all layers of a model inside the model together. Keras 3
(.keras) stores them by their place: layers/<class in snake case>[_n]/vars/<n>, parts of a layer below it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from bessemer.ir.types import Array
from bessemer.sources.keras.container import Container, array, texts
from bessemer.sources.keras.network import Network, Spec
from bessemer.wire.errors import WireError
from bessemer.wire.hdf5 import Group

PARTS = (
    "vars", "layer", "forward_layer", "backward_layer", "cell", "cells", "query_dense", "key_dense", "value_dense",
    "gate_dense", "output_dense",
)  # fmt: skip
"""Parts of layers that have weights of their own, in the order of `layer.weights`."""
IGNORED = ("seed_generator", "dropout_layer", "softmax")
LIST = "_layer_checkpoint_dependencies"

Weights = dict[str, tuple[Array, ...]]
"""By path: names of layers joined by '/'."""


def read_weights(container: Container, network: Network) -> Weights:
    """The weights of every layer that has any. Raises WireError."""
    found: Weights = {}
    if container.tree:
        for path, arrays in _of_tree(container.weights, network, ""):
            found[path] = arrays
        return found
    listed = texts(container.weights, "layer_names")
    if listed is None:
        raise WireError("the weights are not listed: no attribute 'layer_names'")
    for name, arrays in _of_names(container.weights, network, listed):
        found[name] = arrays
    return _converted(found, network, container)


# -- by name -------------------------------------------------------------------------------------------------------


def _of_names(weights: Group, network: Network, listed: list[str]) -> Iterator[tuple[str, tuple[Array, ...]]]:
    for name in listed:
        group, spec = weights.get(name), network.layers.get(name)
        if not isinstance(group, Group):
            raise WireError(f"the weights of layer '{name}' are missing")
        names = texts(group, "weight_names") or []
        if spec is None:
            if names:
                raise WireError(f"there are weights of a layer '{name}' that the model has not")
            continue
        if spec.inner is None:
            yield name, tuple(array(group, item) for item in names)
        else:
            yield from _inside(group, spec.inner, names, f"{name}/")


def _inside(
    group: Group, network: Network, names: list[str], prefix: str
) -> Iterator[tuple[str, tuple[Array, ...]]]:
    """Weights of a model inside the model: the layer that a weight belongs to is a part of its name."""
    owners = dict(_leaves(network, prefix))
    held: dict[str, list[Array]] = {}
    for name in names:
        path = _owner(name, owners)
        if path is None:
            raise WireError(f"the weight '{name}' belongs to no layer of '{network.name}'")
        held.setdefault(path, []).append(array(group, name))
    for path, arrays in held.items():
        yield path, tuple(arrays)


def _owner(name: str, owners: dict[str, str]) -> str | None:
    parts = name.split("/")[:-1]
    exact = next((owners[part] for part in parts if part in owners), None)
    if exact is not None:
        return exact
    plain = (re.sub(r"_\d+$", "", part) for part in parts)  # a scope that was entered again got a number
    return next((owners[part] for part in plain if part in owners), None)


def _leaves(network: Network, prefix: str) -> Iterator[tuple[str, str]]:
    for spec in network.layers.values():
        if spec.inner is None:
            yield spec.name, prefix + spec.name
        else:
            yield from _leaves(spec.inner, f"{prefix}{spec.name}/")


# -- by place ------------------------------------------------------------------------------------------------------


def snake(name: str) -> str:
    """A class name as Keras writes it in files: 'Conv2DTranspose' is 'conv2d_transpose'."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def _of_tree(group: Group, network: Network, prefix: str) -> Iterator[tuple[str, tuple[Array, ...]]]:
    holder = group.get("layers") or group.get(LIST)
    if not isinstance(holder, Group):
        holder = group.get("_functional/layers") or group
    assert isinstance(holder, Group)
    used: dict[str, int] = {}
    for spec in network.layers.values():
        if spec.kind.startswith("ops.") or (network.kind == "Sequential" and spec.kind == "InputLayer"):
            continue
        name = snake(spec.kind)
        used[name] = used.get(name, -1) + 1
        name += f"_{used[name]}" if used[name] else ""
        member = holder.get(name)
        if not isinstance(member, Group):
            continue
        _check_name(member, spec)
        if spec.inner is not None:
            yield from _of_tree(member, spec.inner, f"{prefix}{spec.name}/")
        else:
            arrays = tuple(_parts(member))
            if arrays:
                yield prefix + spec.name, arrays


def _check_name(member: Group, spec: Spec) -> None:
    """Newer files say whose weights these are."""
    own = member.get("vars")
    held = None if own is None else own.attribute("name")
    if isinstance(held, str) and held != spec.name:
        raise WireError(f"the weights in '{member.path}' are those of '{held}', not of '{spec.name}'")


def _parts(group: Group) -> Iterator[Array]:
    """Its own weights and those of its parts, in order."""
    for name in sorted(group, key=_place):
        member = group[name]
        if not isinstance(member, Group) or name.lstrip("_") in IGNORED:
            continue
        if name == "vars":
            for number in sorted(member, key=_number):
                yield array(member, number)
        elif not (name == "layer" and "forward_layer" in group):
            yield from _parts(member)


def _place(name: str) -> tuple[int, int, str]:
    plain = name.lstrip("_")
    return (PARTS.index(plain) if plain in PARTS else len(PARTS), _number(plain), plain)


def _number(name: str) -> int:
    """The number at its end: 'lstm_cell_2' comes before 'lstm_cell_10'."""
    found = re.search(r"(\d+)$", name)
    return int(found[1][:9]) if found else -1


# -- from older to newer -------------------------------------------------------------------------------------------


def _converted(found: Weights, network: Network, container: Container) -> Weights:
    """Weights of Keras 1 as Keras 2 has them, and Theano's kernels turned round."""
    if container.generation > 1 and container.backend != "theano":
        return found
    specs = dict(_specs(network, ""))
    return {path: _upgrade(specs[path], arrays, container) for path, arrays in found.items()}


def _specs(network: Network, prefix: str) -> Iterator[tuple[str, Spec]]:
    for spec in network.layers.values():
        if spec.inner is None:
            yield prefix + spec.name, spec
        else:
            yield from _specs(spec.inner, f"{prefix}{spec.name}/")


def _upgrade(spec: Spec, arrays: tuple[Array, ...], container: Container) -> tuple[Array, ...]:
    kind, config = _innermost(spec.kind, spec.config)
    if container.generation == 1:
        if kind in ("Conv2D", "Conv2DTranspose", "Conv3D") and config.get("data_format") == "channels_first":
            arrays = (_channels_last(arrays[0]), *arrays[1:])
        if kind == "Conv1D" and arrays[0].ndim == 4:
            arrays = (arrays[0][:, 0], *arrays[1:])
        if kind == "LSTM" and len(arrays) == 12:  # i, c, f, o; Keras 2: i, f, c, o
            arrays = _gates(arrays, (0, 2, 1, 3))
        if kind == "GRU" and len(arrays) == 9:  # z, r, h in both
            arrays = _gates(arrays, (0, 1, 2))
    if container.backend == "theano" and re.fullmatch(r"(Conv|SeparableConv|DepthwiseConv)\d?D(Transpose)?", kind):
        spatial = tuple(range(arrays[0].ndim - 2))
        arrays = tuple(_turned(item, spatial) if item.ndim > 1 else item for item in arrays)
    return arrays


def _innermost(kind: str, config: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    held = config.get("layer")
    if kind == "TimeDistributed" and isinstance(held, dict):
        return str(held["class_name"]), held["config"]
    return kind, config


def _channels_last(kernel: Array) -> Array:
    """(out, in, rows, ...) to (rows, ..., in, out)."""
    return kernel.transpose(*range(2, kernel.ndim), 1, 0)


def _turned(kernel: Array, spatial: tuple[int, ...]) -> Array:
    import numpy as np

    return np.flip(kernel, spatial)


def _gates(arrays: tuple[Array, ...], order: tuple[int, ...]) -> tuple[Array, ...]:
    """(kernel, recurrent, bias) per gate to one of each for all gates."""
    import numpy as np

    return tuple(np.concatenate([arrays[3 * gate + part] for gate in order], axis=-1) for part in range(3))
