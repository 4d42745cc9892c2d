"""The network that a model's config describes: layers, and each call of them with what it reads.

Configs of Keras 1, 2 (and tf.keras) and 3 come out the same: `Spec`s with their calls as `Node`s, tensors as `Ref`s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from bessemer.ir.errors import UsageError
from bessemer.sources.keras.first import modern

MODELS = ("Functional", "Model", "Sequential")
FUNCTIONS = ("TFOpLambda", "SlicingOpLambda", "ClassMethod", "InstanceMethod", "InstanceProperty")
"""How tf.keras calls functions of TensorFlow between layers."""
DEEPEST = 40
MAX_LAYERS = 100_000


class Contradiction(ValueError):
    """What a config says cannot be meant; the message says why."""


@dataclass(frozen=True)
class Ref:
    """An output of one call of a layer."""

    layer: str
    node: int
    tensor: int


@dataclass(frozen=True)
class Node:
    """One call: positional and keyword arguments, whose tensors are `Ref`s at any depth."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass
class Spec:
    """A layer of a network. inner: the network of a layer that is a model itself."""

    name: str
    kind: str
    config: dict[str, Any]
    module: str = ""
    nodes: tuple[Node, ...] = ()
    inner: Network | None = None


@dataclass
class Network:
    """layers: as the config lists them. inputs, outputs: in the model's own order. keys: names of the outputs where
    the model has any; they are the names of its layers otherwise."""

    name: str
    kind: str
    layers: dict[str, Spec]
    inputs: tuple[Ref, ...]
    outputs: tuple[Ref, ...]
    keys: tuple[str, ...] | None = None
    trainable: bool = True


@dataclass
class Reading:
    """What is known while configs are read. shapes: what the user gave for inputs."""

    generation: int
    shapes: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    count: int = 0


def is_model(data: Mapping[str, Any]) -> bool:
    """Whether a config describes a model built of layers."""
    config = data.get("config")
    if isinstance(config, list):
        return data.get("class_name") == "Sequential"
    return isinstance(config, Mapping) and isinstance(config.get("layers"), list) and (
        data.get("class_name") in MODELS or "output_layers" in config
    )


def read_network(data: Mapping[str, Any], reading: Reading, depth: int = 0) -> Network:
    """The network of a model's config. Raises Contradiction."""
    if depth > DEEPEST:
        raise Contradiction(f"models nest deeper than {DEEPEST}")
    config = data["config"]
    if isinstance(config, list):
        config = {"name": str(data.get("name") or "sequential"), "layers": config}
    if "output_layers" not in config:
        return _sequential(data, config, reading, depth)
    specs = _specs(config["layers"], reading, depth)
    for spec, item in zip(specs, config["layers"], strict=True):
        spec.nodes = tuple(_node(node, spec.kind) for node in item.get("inbound_nodes") or ())
    layers = _by_name(specs)
    outputs = config["output_layers"]
    borders = [list(_refs(item)) for item in (config.get("input_layers") or [], outputs)]
    if any(isinstance(node, dict) for item in config["layers"] for node in item.get("inbound_nodes") or ()):
        borders = [[_third(ref, layers) for ref in refs] for refs in borders]
    else:
        _shift_models(layers, [*borders[0], *borders[1]])
    keys = tuple(sorted(outputs)) if isinstance(outputs, dict) else None
    network = Network(
        str(config.get("name") or data.get("name") or "model"), "Functional", layers,
        tuple(borders[0]), tuple(borders[1]), keys, bool(config.get("trainable", True)),
    )  # fmt: skip
    _check(network)
    return network


def _specs(items: Sequence[Any], reading: Reading, depth: int) -> list[Spec]:
    return [_spec(item, reading, depth) for item in items]


def _spec(item: Any, reading: Reading, depth: int) -> Spec:
    reading.count += 1
    if reading.count > MAX_LAYERS:
        raise Contradiction(f"it has more than {MAX_LAYERS} layers")
    if reading.generation == 1:
        item = modern(item)
    config, kind = item.get("config"), str(item["class_name"])
    inner = read_network(item, reading, depth + 1) if is_model(item) else None
    held = config if isinstance(config, dict) else {}
    name = str(item.get("name") or held.get("name") or (inner.name if inner else kind.lower()))
    module = str(item.get("module") or "")
    if inner is None and kind != "InputLayer" and _is_operation(module, held, reading):
        kind = f"ops.{kind}"  # layers have the same class names
    return Spec(name, kind, held, module, inner=inner)


def _is_operation(module: str, config: Mapping[str, Any], reading: Reading) -> bool:
    """Whether it is a function of Keras 3; .h5 leaves modules out, but only layers can be trainable."""
    if module:
        return module.startswith(("keras.src.ops", "keras.ops"))
    return reading.generation == 3 and "trainable" not in config


def _by_name(specs: Sequence[Spec]) -> dict[str, Spec]:
    found = {spec.name: spec for spec in specs}
    if len(found) < len(specs):
        raise Contradiction("two of its layers have one name")
    return found


def _sequential(data: Mapping[str, Any], config: Mapping[str, Any], reading: Reading, depth: int) -> Network:
    specs = _specs(config["layers"], reading, depth)
    name = str(config.get("name") or "sequential")
    if not specs:
        raise Contradiction(f"the model '{name}' has no layers")
    used: dict[str, int] = {}
    for spec in specs:  # old files may repeat a name here
        used[spec.name] = used.get(spec.name, 0) + 1
        spec.name += "" if used[spec.name] == 1 else f"_{used[spec.name]}"
    if specs[0].kind != "InputLayer":
        specs.insert(0, _first_input(specs[0], data, config, reading, depth))
    for before, spec in pairwise(specs):
        spec.nodes = (Node((Ref(before.name, 0, 0),), {}),)
    return Network(
        name, "Sequential", _by_name(specs), (Ref(specs[0].name, 0, 0),), (Ref(specs[-1].name, 0, 0),),
        trainable=bool(config.get("trainable", True)),
    )  # fmt: skip


def _first_input(
    spec: Spec, data: Mapping[str, Any], config: Mapping[str, Any], reading: Reading, depth: int
) -> Spec:
    """The input that a Sequential model leaves unsaid: its first layer knows the shape, or the user."""
    name = f"{spec.name}_input"
    held: Any = _stated_shape(spec, data, config)
    if held is None and depth == 0:
        held = reading.shapes.get(name) or next(iter(reading.shapes.values()), None)
        if held is None:
            raise UsageError(
                f"The model '{config.get('name') or 'sequential'}' does not say what shape its input has",
                why="it was saved before it was built",
                fix=f"Say it, the batch included: --shape {name}=1x28x28x1",
            )
        held = [dim if isinstance(dim, int) else None for dim in held]
    dtype = spec.config.get("dtype")
    if not isinstance(dtype, str) or spec.kind == "Embedding":
        dtype = "float32"
    return Spec(name, "InputLayer", {"name": name, "batch_input_shape": held, "dtype": dtype})


def _stated_shape(spec: Spec, data: Mapping[str, Any], config: Mapping[str, Any]) -> list[Any] | None:
    build = data.get("build_config")
    candidates = [
        spec.config.get("batch_input_shape"), spec.config.get("batch_shape"), config.get("build_input_shape"),
        build.get("input_shape") if isinstance(build, dict) else None, _stated_by_inner(spec),
    ]  # fmt: skip
    found = next((item for item in candidates if isinstance(item, list) and item), None)
    if found is None and isinstance(spec.config.get("layer"), dict):  # a wrapper: TimeDistributed, Bidirectional
        inner = spec.config["layer"].get("config")
        found = inner.get("batch_input_shape") if isinstance(inner, dict) else None
    return found


def _stated_by_inner(spec: Spec) -> list[Any] | None:
    """A model inside a model takes what its own input says."""
    if spec.inner is None:
        return None
    held = spec.inner.layers[spec.inner.inputs[0].layer].config
    shape = held.get("batch_shape") or held.get("batch_input_shape")
    return shape if isinstance(shape, list) else None


# -- calls ---------------------------------------------------------------------------------------------------------


def _node(data: Any, kind: str) -> Node:
    """One call, as Keras 3 ({args, kwargs}) or as older versions write it."""
    if isinstance(data, dict):
        return Node(
            tuple(_structure(item) for item in data.get("args") or ()),
            {name: _structure(item) for name, item in (data.get("kwargs") or {}).items() if name != "training"},
        )
    if not data:
        return Node((), {})
    if isinstance(data[0], str):  # a function of TensorFlow that takes one tensor
        data, listed = [data], False
    else:
        listed = kind in FUNCTIONS  # ... or a list of them
    args = [_old_tensor(item) for item in data]
    kwargs = data[0][3] if len(data[0]) > 3 else {}
    held = {name: _old_structure(item) for name, item in kwargs.items() if name != "training"}
    if held.get("name", 0) is None:
        del held["name"]
    return Node((args,) if listed else tuple(args), held)


def _old_tensor(item: Sequence[Any]) -> Any:
    return item[2] if item[0] == "_CONSTANT_VALUE" else Ref(str(item[0]), int(item[1]), int(item[2]))


def _old_structure(item: Any) -> Any:
    """An argument by name: [layer, node, tensor] is a tensor, a dict of start, stop and step a slice."""
    if isinstance(item, dict):
        if set(item) == {"start", "stop", "step"}:
            return slice(*(_old_structure(item[key]) for key in ("start", "stop", "step")))
        if item.get("class_name") in ("__ellipsis__", "__tuple__"):
            return _structure(item)
        return {name: _old_structure(part) for name, part in item.items()}
    if not isinstance(item, list):
        return item
    if len(item) in (3, 4) and isinstance(item[0], str) and _is_index(item[1]) and _is_index(item[2]):
        return _old_tensor(item)
    if len(item) == 3 and item[0] == "_CONSTANT_VALUE":
        return item[2]
    return [_old_structure(part) for part in item]


def _is_index(item: Any) -> bool:
    return isinstance(item, int) and not isinstance(item, bool)


def _structure(item: Any) -> Any:
    """An argument as Keras 3 writes it, its tensors as `Ref`s and slices as such."""
    if isinstance(item, list):
        return [_structure(part) for part in item]
    if not isinstance(item, dict):
        return item
    kind, config = item.get("class_name"), item.get("config")
    if kind == "__keras_tensor__" and isinstance(config, dict):
        return _history(config["keras_history"])
    if kind == "__tuple__" and isinstance(config, dict):
        return tuple(_structure(part) for part in config.get("value") or ())
    if kind == "__tuple__":
        return tuple(_structure(part) for part in item.get("items") or ())
    if kind == "__slice__" and isinstance(config, dict):
        return slice(*(_structure(config.get(key)) for key in ("start", "stop", "step")))
    if kind == "__ellipsis__":
        return ...
    if kind in ("__numpy__", "__tensor__") and isinstance(config, dict):
        import numpy as np

        return np.asarray(config["value"], config.get("dtype"))
    return {name: _structure(part) for name, part in item.items()}


def _history(held: Sequence[Any]) -> Ref:
    return Ref(str(held[0]), int(held[1]), int(held[2]))


def _refs(item: Any) -> Iterator[Ref]:
    """All tensors of a border, in Keras's flat order: a dict's by sorted keys."""
    if isinstance(item, dict):
        for key in sorted(item):
            yield from _refs(item[key])
    elif isinstance(item, list) and len(item) == 3 and isinstance(item[0], str):
        yield _history(item)
    elif isinstance(item, list):
        for part in item:
            yield from _refs(part)
    else:
        raise Contradiction(f"{item!r} is no tensor")


def refs_in(item: Any) -> list[Ref]:
    """Every tensor in an argument, in flat order."""
    if isinstance(item, Ref):
        return [item]
    if isinstance(item, dict):
        return [ref for key in sorted(item, key=str) for ref in refs_in(item[key])]
    if isinstance(item, list | tuple):
        return [ref for part in item for ref in refs_in(part)]
    if isinstance(item, slice):
        return [ref for part in (item.start, item.stop, item.step) for ref in refs_in(part)]
    return []


def replaced(item: Any, by: Mapping[Ref, Any]) -> Any:
    """An argument with its tensors put in."""
    if isinstance(item, Ref):
        return by[item]
    if isinstance(item, dict):
        return {key: replaced(part, by) for key, part in item.items()}
    if isinstance(item, list | tuple):
        return type(item)(replaced(part, by) for part in item)
    if isinstance(item, slice):
        return slice(*(replaced(part, by) for part in (item.start, item.stop, item.step)))
    return item


# -- consistency -----------------------------------------------------------------------------------------------------


def _every_ref(layers: Mapping[str, Spec]) -> Iterator[Ref]:
    for spec in layers.values():
        for node in spec.nodes:
            yield from refs_in([list(node.args), node.kwargs])


def _third(ref: Ref, layers: Mapping[str, Spec]) -> Ref:
    """Keras 3 counts the call of its own making that a functional model has at the borders, and nowhere else."""
    spec = layers.get(ref.layer)
    own = spec is not None and spec.inner is not None and spec.inner.kind == "Functional" and ref.node > 0
    return Ref(ref.layer, ref.node - 1, ref.tensor) if own else ref


def _shift_models(layers: Mapping[str, Spec], borders: Sequence[Ref]) -> None:
    """A model inside a model has a call of its own making, number 0, which its list of calls leaves out."""
    highest: dict[str, int] = {}
    for ref in [*_every_ref(layers), *borders]:
        highest[ref.layer] = max(highest.get(ref.layer, 0), ref.node)
    for spec in layers.values():
        if spec.inner is not None and highest.get(spec.name, -1) == len(spec.nodes):
            spec.nodes = (Node((), {}), *spec.nodes)


def _check(network: Network) -> None:
    """Every tensor that is read must be made."""
    for ref in [*_every_ref(network.layers), *network.inputs, *network.outputs]:
        spec = network.layers.get(ref.layer)
        if spec is None or not 0 <= ref.node < max(len(spec.nodes), 1) or ref.tensor < 0:
            wanted = f"output {ref.tensor} of call {ref.node} of '{ref.layer}'"
            raise Contradiction(f"'{network.name}' reads {wanted}, which is not there")
    if not network.outputs:
        raise Contradiction(f"'{network.name}' has no outputs")


def order_of(network: Network) -> list[tuple[Spec, int]]:
    """Every call, each after those whose results it reads; raises Contradiction for a circle."""
    waiting: dict[tuple[str, int], int] = {}
    readers: dict[tuple[str, int], list[tuple[str, int]]] = {}
    for spec in network.layers.values():
        for place, node in enumerate(spec.nodes or (Node((), {}),)):
            read = {(ref.layer, ref.node) for ref in refs_in([list(node.args), node.kwargs])}
            waiting[spec.name, place] = len(read)
            for made in read:
                readers.setdefault(made, []).append((spec.name, place))
    ready = [call for call, count in waiting.items() if count == 0][::-1]
    order: list[tuple[Spec, int]] = []
    while ready:
        call = ready.pop()
        order.append((network.layers[call[0]], call[1]))
        for reader in readers.get(call, [])[::-1]:
            waiting[reader] -= 1
            if waiting[reader] == 0:
                ready.append(reader)
    if len(order) < len(waiting):
        stuck = next(name for (name, _), count in waiting.items() if count)
        raise Contradiction(f"'{stuck}' waits for its own result")
    return order
