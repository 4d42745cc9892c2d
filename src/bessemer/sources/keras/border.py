"""What goes in and out of a network: names, types and shapes as Keras has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from bessemer.ir.types import Shape
from bessemer.sources.keras.network import Contradiction, Network

BATCH = "batch"


class Border(NamedTuple):
    """An input. shape: unbound dims have names; that of the batch is the same for all."""

    name: str
    dtype: str
    shape: Shape


def inputs_of(network: Network) -> list[Border]:
    """All inputs in the model's order. Raises Contradiction."""
    return [_input(network.layers[ref.layer].config, ref.layer) for ref in network.inputs]


def _input(config: dict[str, Any], name: str) -> Border:
    held = config.get("batch_shape") or config.get("batch_input_shape")
    if not isinstance(held, list) or not all(dim is None or (isinstance(dim, int) and dim >= 0) for dim in held):
        raise Contradiction(f"its input '{name}' has no shape ({held})")
    dims = (BATCH if dim is None and place == 0 else f"{name}_{place}" if dim is None else dim
            for place, dim in enumerate(held))  # fmt: skip
    dtype = config.get("dtype") or "float32"
    if isinstance(dtype, dict):
        dtype = (dtype.get("config") or {}).get("name", "float32")
    return Border(name, str(dtype), tuple(dims))


def output_names(network: Network, taken: Sequence[str] = ()) -> list[str]:
    """Names of the outputs: the keys of a model that returns a dict, else the layers that make them, made unique."""
    if network.keys is not None and len(network.keys) == len(network.outputs):
        proposals = list(network.keys)
    else:
        proposals = [ref.layer for ref in network.outputs]
    used, names = set(taken), []
    for proposal in proposals:
        name, count = proposal, 0
        while name in used:
            count += 1
            name = f"{proposal}_{count}"
        used.add(name)
        names.append(name)
    return names
