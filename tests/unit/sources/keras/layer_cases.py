"""Random Keras layers: how each is made, what it is called on, and how the three readings of it are compared.

The oracle is Keras itself (3, and tf_keras for generation 2) on the TensorFlow backend; nothing here imports it before
`oracle()` is asked.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

Array = Any
Rng = np.random.Generator


@dataclass
class Case:
    """kind: class name. arguments: of its constructor (nested layers are `Inner`). inputs: what it is called on.

    style: 'one', 'list' (a list of tensors) or 'args' (one argument each). call: further arguments; arrays are tensors.
    states: arrays passed as `initial_state`. unbound: axes of every input that the drawn graph leaves open.
    """

    kind: str
    arguments: dict[str, Any]
    inputs: list[Array]
    style: str = "one"
    call: dict[str, Any] = field(default_factory=dict)
    states: list[Array] = field(default_factory=list)
    generation: int = 3
    unbound: tuple[int, ...] = (0,)

    @property
    def key(self) -> str:
        """What tells one configuration from another."""
        shapes = [(item.shape, item.dtype.name) for item in self.inputs]
        call = {name: getattr(item, "shape", item) for name, item in self.call.items()}
        return f"{self.generation} {self.kind} {self.arguments} {shapes} {call} {len(self.states)} {self.unbound}"


@dataclass(frozen=True)
class Inner:
    """A layer as an argument of another."""

    kind: str
    arguments: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"{self.kind}({dict(self.arguments)})"


def pick(rng: Rng, *items: Any) -> Any:
    """One of them."""
    return items[int(rng.integers(len(items)))]


def chance(rng: Rng, probability: float) -> bool:
    """Whether it happens."""
    return bool(rng.random() < probability)


def data(rng: Rng, *shape: int) -> Array:
    """Normal float32 numbers."""
    return rng.normal(size=shape).astype(np.float32)


ACTIVATIONS_3 = (
    "linear", "relu", "relu6", "elu", "selu", "celu", "sigmoid", "tanh", "softplus", "softsign", "exponential",
    "hard_sigmoid", "hard_silu", "silu", "gelu", "mish", "log_sigmoid", "leaky_relu", "tanh_shrink", "soft_shrink",
    "hard_shrink", "hard_tanh", "squareplus", "sparse_plus", "sparse_sigmoid", "softmax", "log_softmax", "swish",
    "hard_swish", "glu", "sparsemax",
)  # fmt: skip
ACTIVATIONS_2 = (
    "linear", "relu", "elu", "selu", "sigmoid", "tanh", "softplus", "softsign", "exponential", "hard_sigmoid", "swish",
    "gelu", "softmax", "mish",
)  # fmt: skip


def some_activation(rng: Rng, generation: int, share: float = 0.4) -> Any:
    """None mostly."""
    if not chance(rng, share):
        return None
    return pick(rng, "relu", "tanh", "sigmoid", "elu", "gelu", "hard_sigmoid", "swish", "softplus")


def geometry(rng: Rng, count: int, *, dilated: bool = True, causal: bool = False) -> dict[str, Any]:
    """kernel_size, strides, padding, dilation_rate that go together."""
    kernel = [int(rng.integers(1, 4)) for _ in range(count)]
    strides, dilations = [1] * count, [1] * count
    what = int(rng.integers(3))
    if what == 0:
        step = int(rng.integers(1, 4))
        strides = [step] * count
    elif what == 1 and dilated:
        gap = int(rng.integers(1, 4))
        dilations = [gap] * count
    padding = pick(rng, "same", "valid", "causal") if causal else pick(rng, "same", "valid")
    return {"kernel_size": kernel, "strides": strides, "padding": padding, "dilation_rate": dilations}


def image(rng: Rng, count: int, channels: int, low: int = 7) -> Array:
    """(batch, *sizes, channels)."""
    top = {1: 12, 2: 10, 3: 9}[count]
    return data(rng, int(rng.integers(1, 3)), *(int(rng.integers(low, top)) for _ in range(count)), channels)


def opened(rng: Rng, count: int) -> tuple[int, ...]:
    """The batch, and sometimes the spatial axes, are left open."""
    return (0, *range(1, 1 + count)) if chance(rng, 0.3) else (0,)


def formatted(rng: Rng, case: Case) -> Case:
    """Sometimes channels first."""
    if case.generation == 3 and chance(rng, 0.25):
        case.arguments["data_format"] = "channels_first"
        case.inputs = [np.moveaxis(item, -1, 1) for item in case.inputs]
        case.unbound = tuple(axis + 1 if axis else 0 for axis in case.unbound)
    return case


def conv_case(rng: Rng, generation: int) -> Case:
    """Conv1D, Conv2D, Conv3D."""
    count = pick(rng, 1, 1, 2, 2, 2, 3)
    groups = pick(rng, 1, 1, 2, 3) if generation == 3 and count < 3 else 1
    depth, filters = groups * int(rng.integers(1, 3)), groups * int(rng.integers(1, 4))
    arguments = {
        "filters": filters, **geometry(rng, count, causal=count == 1, dilated=count < 3), "groups": groups,
        "use_bias": chance(rng, 0.7), "activation": some_activation(rng, generation),
    }  # fmt: skip
    case = Case(f"Conv{count}D", arguments, [image(rng, count, depth)], generation=generation)
    case.unbound = opened(rng, count)
    return case if arguments["padding"] == "causal" else formatted(rng, case)


def depthwise_case(rng: Rng, generation: int) -> Case:
    """DepthwiseConv1D, DepthwiseConv2D."""
    count = pick(rng, 1, 2, 2)
    arguments = {
        **geometry(rng, count), "depth_multiplier": int(rng.integers(1, 4)), "use_bias": chance(rng, 0.7),
        "activation": some_activation(rng, generation),
    }  # fmt: skip
    case = Case(f"DepthwiseConv{count}D", arguments, [image(rng, count, int(rng.integers(1, 5)))], generation=generation)
    case.unbound = opened(rng, count)
    return formatted(rng, case)


def separable_case(rng: Rng, generation: int) -> Case:
    """SeparableConv1D, SeparableConv2D."""
    count = pick(rng, 1, 2)
    arguments = {
        "filters": int(rng.integers(1, 6)), **geometry(rng, count, causal=count == 1 and generation == 2),
        "depth_multiplier": int(rng.integers(1, 3)), "use_bias": chance(rng, 0.7),
        "activation": some_activation(rng, generation),
    }  # fmt: skip
    case = Case(f"SeparableConv{count}D", arguments, [image(rng, count, int(rng.integers(1, 5)))], generation=generation)
    case.unbound = opened(rng, count)
    return case if arguments["padding"] == "causal" else formatted(rng, case)


def local_case(rng: Rng, generation: int) -> Case:
    """LocallyConnected1D, LocallyConnected2D: Keras 2 alone has them."""
    count = pick(rng, 1, 2)
    arguments = {
        "filters": int(rng.integers(1, 4)), "kernel_size": [int(rng.integers(1, 4)) for _ in range(count)],
        "strides": [int(rng.integers(1, 3))] * count, "use_bias": chance(rng, 0.7),
        "activation": some_activation(rng, generation),
    }  # fmt: skip
    return Case(f"LocallyConnected{count}D", arguments, [image(rng, count, int(rng.integers(1, 4)))], generation=2)


def transposed_case(rng: Rng, generation: int) -> Case:
    """Conv1DTranspose, Conv2DTranspose, Conv3DTranspose."""
    count = pick(rng, 1, 2, 2, 3)
    arguments = {
        "filters": int(rng.integers(1, 5)), **geometry(rng, count, dilated=False), "use_bias": chance(rng, 0.7),
        "activation": some_activation(rng, generation),
    }  # fmt: skip
    if count == 3:
        arguments["dilation_rate"] = [1] * 3
    strides = arguments["strides"]
    if max(strides) > 1 and chance(rng, 0.4) and min(arguments["kernel_size"]) >= max(strides):
        arguments["output_padding"] = [int(rng.integers(0, step)) for step in strides]
    case = Case(f"Conv{count}DTranspose", arguments, [image(rng, count, int(rng.integers(1, 4)), 3)], generation=generation)
    case.unbound = opened(rng, count)
    return formatted(rng, case)


def pool_case(rng: Rng, generation: int) -> Case:
    """Windows."""
    count = pick(rng, 1, 2, 2, 3)
    arguments = {
        "pool_size": [int(rng.integers(1, 4)) for _ in range(count)],
        "strides": pick(rng, None, [int(rng.integers(1, 4)) for _ in range(count)]), "padding": pick(rng, "same", "valid"),
    }  # fmt: skip
    case = Case(
        f"{pick(rng, 'Max', 'Average')}Pooling{count}D", arguments, [image(rng, count, int(rng.integers(1, 4)))],
        generation=generation,
    )  # fmt: skip
    case.unbound = opened(rng, count)
    return formatted(rng, case)


def global_pool_case(rng: Rng, generation: int) -> Case:
    """Whole axes."""
    count, kind = pick(rng, 1, 2, 3), pick(rng, "Max", "Average")
    case = Case(
        f"Global{kind}Pooling{count}D", {"keepdims": chance(rng, 0.5)}, [image(rng, count, 3)], generation=generation
    )
    case.unbound = opened(rng, count)
    if kind == "Average" and count == 1 and chance(rng, 0.4):
        case.call = {"mask": some_mask(rng, case.inputs[0])}
        return case
    return formatted(rng, case)


def adaptive_case(rng: Rng, generation: int) -> Case:
    """A number of cells."""
    count = pick(rng, 1, 2, 3)
    cells = [int(rng.integers(2, 6)) for _ in range(count)]  # TensorFlow divides by zero, and dies, for a single one
    arguments = {"output_size": cells}
    return formatted(
        rng, Case(f"Adaptive{pick(rng, 'Max', 'Average')}Pooling{count}D", arguments, [image(rng, count, 2)])
    )


def some_mask(rng: Rng, x: Array) -> Array:
    """(batch, time), the first step of every example kept."""
    mask = rng.random(x.shape[:2]) < 0.6
    mask[:, 0] |= ~mask.any(axis=1)
    return mask


def sequence(rng: Rng, *rest: int) -> Array:
    """(batch, time, *rest)."""
    return data(rng, int(rng.integers(1, 4)), int(rng.integers(2, 7)), *rest)


def dense_case(rng: Rng, generation: int) -> Case:
    """Dense on two to four axes."""
    shape = [int(rng.integers(1, 5)) for _ in range(int(rng.integers(2, 5)))]
    arguments = {
        "units": int(rng.integers(1, 6)), "use_bias": chance(rng, 0.7),
        "activation": some_activation(rng, generation, 0.7),
    }  # fmt: skip
    unbound = pick(rng, (0,), (0, 1)[: len(shape) - 1])
    return Case("Dense", arguments, [data(rng, *shape)], generation=generation, unbound=unbound)


def einsum_case(rng: Rng, generation: int) -> Case:
    """Equations of one product and others."""
    equation, output, bias, rank = pick(
        rng, ("ab,bc->ac", (5,), "c", 2), ("abc,cd->abd", (None, 5), "d", 3), ("...x,xy->...y", (None, 5), "y", 3),
        ("abc,cde->abde", (None, 2, 3), "de", 3), ("abcd,cde->abe", (None, 4), "e", 4), ("abc,bd->adc", (3, None), None, 3),
        ("abc,cd->abd", (None, 4), None, 3), ("abcd,cde->abe", (None, 4), None, 4), ("abc,cbd->ad", (5,), "d", 3),
    )  # fmt: skip
    shape = [int(rng.integers(1, 4)) for _ in range(rank)]
    if equation == "abc,bd->adc":
        output = (3, shape[2])
    elif output[0] is None:
        output = (shape[1], *output[1:])
    arguments = {"equation": equation, "output_shape": output, "bias_axes": bias, "activation": some_activation(rng, 3)}
    return Case("EinsumDense", arguments, [data(rng, *shape)], generation=generation)


def embedding_case(rng: Rng, generation: int) -> Case:
    """Indices in int32 or float32."""
    size = int(rng.integers(3, 9))
    ids = rng.integers(0, size, (2, int(rng.integers(1, 6)))).astype(pick(rng, np.int32, np.float32))
    arguments = {"input_dim": size, "output_dim": int(rng.integers(1, 6)), "mask_zero": chance(rng, 0.3)}
    return Case("Embedding", arguments, [ids], generation=generation, unbound=pick(rng, (0,), (0, 1)))


def reversible_case(rng: Rng, generation: int) -> Case:
    """Backwards: logits."""
    arguments = {
        "input_dim": int(rng.integers(3, 9)), "output_dim": 4, "tie_weights": chance(rng, 0.5),
        "logit_soft_cap": pick(rng, None, 3.0),
    }  # fmt: skip
    return Case("ReversibleEmbedding", arguments, [sequence(rng, 4)], call={"reverse": True})


def batch_norm_case(rng: Rng, generation: int) -> Case:
    """Any axis of two to five."""
    shape = [int(rng.integers(2, 5)) for _ in range(int(rng.integers(2, 6)))]
    arguments = {
        "axis": pick(rng, -1, -1, int(rng.integers(1, len(shape)))), "epsilon": pick(rng, 1e-3, 1e-2),
        "center": chance(rng, 0.8), "scale": chance(rng, 0.8),
    }  # fmt: skip
    return Case("BatchNormalization", arguments, [data(rng, *shape)], generation=generation)


def layer_norm_case(rng: Rng, generation: int) -> Case:
    """One axis or several."""
    shape = [int(rng.integers(2, 5)) for _ in range(int(rng.integers(2, 6)))]
    axes = sorted({int(rng.integers(1, len(shape))) for _ in range(2)})
    arguments = {
        "axis": pick(rng, -1, -1, axes), "epsilon": pick(rng, 1e-3, 1e-2), "center": chance(rng, 0.8),
        "scale": chance(rng, 0.8),
    }  # fmt: skip
    if generation == 3 and chance(rng, 0.15):
        arguments["rms_scaling"] = True
    return Case("LayerNormalization", arguments, [data(rng, *shape)], generation=generation)


def group_norm_case(rng: Rng, generation: int) -> Case:
    """Groups of channels."""
    shape = [int(rng.integers(2, 5)) for _ in range(int(rng.integers(2, 6)))]
    groups, axis = pick(rng, 1, 2, 3, -1), pick(rng, -1, -1, int(rng.integers(1, len(shape))))
    shape[axis] = abs(groups) * int(rng.integers(1, 3))
    arguments = {
        "groups": groups, "axis": axis, "center": chance(rng, 0.8), "scale": chance(rng, 0.8),
        "epsilon": pick(rng, 1e-3, 1e-2),
    }  # fmt: skip
    return Case("GroupNormalization", arguments, [data(rng, *shape)], generation=generation)


def unit_norm_case(rng: Rng, generation: int) -> Case:
    """One axis or several; a zero vector among them."""
    x = data(rng, 2, int(rng.integers(2, 5)), int(rng.integers(2, 5)))
    x[0, 0] = 0
    return Case("UnitNormalization", {"axis": pick(rng, -1, 1, [1, 2])}, [x], generation=generation)


def rms_norm_case(rng: Rng, generation: int) -> Case:
    """By the root of the mean of squares."""
    shape = [int(rng.integers(2, 5)) for _ in range(int(rng.integers(2, 5)))]
    arguments = {"axis": pick(rng, -1, len(shape) - 1), "epsilon": pick(rng, 1e-6, 1e-2)}
    return Case("RMSNormalization", arguments, [data(rng, *shape)])


def spectral_case(rng: Rng, generation: int) -> Case:
    """Around a dense layer or a convolution."""
    inner, x = pick(
        rng, (Inner("Dense", {"units": int(rng.integers(1, 5)), "use_bias": chance(rng, 0.5)}), data(rng, 3, 4)),
        (Inner("Conv2D", {"filters": 3, "kernel_size": 3, "use_bias": chance(rng, 0.5)}), data(rng, 2, 6, 5, 2)),
    )  # fmt: skip
    return Case("SpectralNormalization", {"layer": inner}, [x])


def activation_case(rng: Rng, generation: int) -> Case:
    """By name."""
    name = pick(rng, *(ACTIVATIONS_3 if generation == 3 else ACTIVATIONS_2))
    shape = [int(rng.integers(1, 4)) for _ in range(int(rng.integers(1, 4)))] + [4]
    return Case("Activation", {"activation": name}, [data(rng, *shape) * 3], generation=generation)


def activation_layer_case(rng: Rng, generation: int) -> Case:
    """ReLU and its relatives."""
    x = data(rng, 2, int(rng.integers(1, 4)), int(rng.integers(1, 4)), 4) * 3
    slope = "negative_slope" if generation == 3 else "alpha"
    kind, arguments = pick(
        rng, ("ReLU", {"max_value": pick(rng, None, 1.5, 6.0), "negative_slope": pick(rng, 0.0, 0.1),
                       "threshold": pick(rng, 0.0, 0.7)}),
        ("LeakyReLU", {slope: pick(rng, 0.05, 0.3)}), ("ELU", {"alpha": pick(rng, 0.5, 1.0, 2.0)}),
        ("PReLU", {"shared_axes": pick(rng, None, [1], [1, 2], [2, 3])}), ("Softmax", {"axis": pick(rng, -1, 1, [1, 2])}),
        *([("ThresholdedReLU", {"theta": pick(rng, 0.5, 1.0)})] if generation == 2 else []),
    )  # fmt: skip
    case = Case(kind, arguments, [x], generation=generation)
    if kind == "Softmax" and chance(rng, 0.4):
        mask = rng.random(x.shape) < 0.7
        mask[..., 0] = True
        mask[:, 0] = True
        case.call = {"mask": mask}
    return case


def merge_case(rng: Rng, generation: int) -> Case:
    """Element by element."""
    kind = pick(rng, "Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum")
    shape = [int(rng.integers(2, 5)) for _ in range(int(rng.integers(2, 5)))]
    inputs = [data(rng, *shape) for _ in range(2 if kind == "Subtract" else int(rng.integers(2, 4)))]
    if chance(rng, 0.25) and len(shape) > 2:
        inputs[1] = data(rng, shape[0], *shape[2:])
    elif chance(rng, 0.25):
        inputs[1] = data(rng, *[1 if place and chance(rng, 0.5) else dim for place, dim in enumerate(shape)])
    return Case(kind, {}, inputs, "list", generation=generation)


def concatenate_case(rng: Rng, generation: int) -> Case:
    """Along any axis."""
    shape = [int(rng.integers(1, 5)) for _ in range(int(rng.integers(2, 5)))]
    axis = pick(rng, -1, int(rng.integers(1, len(shape))))
    inputs = []
    for _ in range(int(rng.integers(2, 4))):
        held = list(shape)
        held[axis] = int(rng.integers(1, 4))
        inputs.append(data(rng, *held))
    return Case("Concatenate", {"axis": axis}, inputs, "list", generation=generation)


def dot_case(rng: Rng, generation: int) -> Case:
    """Vectors and matrices along any axes."""
    batch, depth = int(rng.integers(1, 4)), int(rng.integers(2, 5))
    ranks = [int(rng.integers(2, 4)) for _ in range(2)]
    axes = [int(rng.integers(1, rank)) for rank in ranks]
    inputs = []
    for rank, axis in zip(ranks, axes, strict=True):
        shape = [batch, *(int(rng.integers(1, 4)) for _ in range(rank - 1))]
        shape[axis] = depth
        inputs.append(data(rng, *shape))
    held: Any = axes[0] if axes[0] == axes[1] and chance(rng, 0.5) else axes
    return Case("Dot", {"axes": held, "normalize": chance(rng, 0.4)}, inputs, "list", generation=generation)


def reshape_case(rng: Rng, generation: int) -> Case:
    """Reshape, Flatten, Permute, RepeatVector."""
    shape = [2, int(rng.integers(1, 4)) * 2, int(rng.integers(1, 4)), int(rng.integers(1, 4)) * 3]
    x = data(rng, *shape)
    total = int(np.prod(shape[1:]))
    kind, arguments = pick(
        rng, ("Reshape", {"target_shape": pick(rng, [total], [2, -1], [-1, 3], [3, total // 6, 2], [-1], [2, 3, -1])}),
        ("Flatten", {"data_format": pick(rng, "channels_last", "channels_first")}),
        ("Permute", {"dims": pick(rng, [1, 2, 3], [3, 1, 2], [2, 3, 1], [2, 1, 3])}),
        ("RepeatVector", {"n": int(rng.integers(1, 5))}),
    )  # fmt: skip
    return Case(kind, arguments, [data(rng, 3, 4) if kind == "RepeatVector" else x], generation=generation)


def border_case(rng: Rng, generation: int) -> Case:
    """ZeroPadding and Cropping."""
    count, word = pick(rng, 1, 2, 3), pick(rng, "ZeroPadding", "Cropping")
    amounts: Any = pick(
        rng, int(rng.integers(1, 3)), [int(rng.integers(0, 3)) for _ in range(count)],
        [[int(rng.integers(0, 3)), int(rng.integers(0, 3))] for _ in range(count)],
    )  # fmt: skip
    if count == 1 and isinstance(amounts, list):
        amounts = [int(rng.integers(0, 3)), int(rng.integers(0, 3))]
    name = "padding" if word == "ZeroPadding" else "cropping"
    case = Case(f"{word}{count}D", {name: amounts}, [image(rng, count, 2)], generation=generation)
    case.unbound = opened(rng, count)
    return case if count == 1 else formatted(rng, case)


def upsample_case(rng: Rng, generation: int) -> Case:
    """UpSampling."""
    count = pick(rng, 1, 2, 2, 3)
    arguments: dict[str, Any] = {"size": [int(rng.integers(1, 4)) for _ in range(count)]}
    if count == 1:
        arguments["size"] = arguments["size"][0]
    if count == 2:
        arguments["interpolation"] = pick(rng, "nearest", "bilinear", "bicubic", "lanczos3")
    case = Case(f"UpSampling{count}D", arguments, [image(rng, count, 2, 3)], generation=generation)
    case.unbound = opened(rng, count)
    return case if count == 1 else formatted(rng, case)


def resize_case(rng: Rng, generation: int) -> Case:
    """Resizing and CenterCrop."""
    sizes = {"height": int(rng.integers(2, 13)), "width": int(rng.integers(2, 13))}
    if chance(rng, 0.3):
        return Case("CenterCrop", sizes, [image(rng, 2, 3)], generation=generation)
    kept = pick(rng, {}, {}, {"crop_to_aspect_ratio": True}, {"pad_to_aspect_ratio": True, "fill_value": 0.5})
    if generation == 2:
        kept.pop("pad_to_aspect_ratio", None)
        kept.pop("fill_value", None)
    arguments = {**sizes, "interpolation": pick(rng, "nearest", "bilinear", "bicubic", "lanczos5"), **kept}
    if generation == 3 and chance(rng, 0.2) and not kept:
        arguments["antialias"] = True
    return Case("Resizing", arguments, [image(rng, 2, 3)], generation=generation)


def preprocessing_case(rng: Rng, generation: int) -> Case:
    """Rescaling, Normalization, CategoryEncoding, Discretization."""
    ids = rng.integers(0, 6, (2, int(rng.integers(1, 5)))).astype(np.int32)
    x = data(rng, 2, 3, 4)
    axis = pick(rng, -1, 1, [1, 2], None)
    sizes = [] if axis is None else [x.shape[a] for a in ([axis] if isinstance(axis, int) else axis)]
    statistics: Any = {
        "mean": data(rng, *sizes).tolist(), "variance": rng.uniform(0.5, 2, sizes).astype(np.float32).tolist(),
    }  # fmt: skip
    what = int(rng.integers(4))
    if what == 0:
        scale: Any = pick(rng, 1 / 127.5, 2.0, [0.5, 1.0, 2.0, 3.0])
        offset: Any = pick(rng, 0.0, -1.0, [0.0, 1.0, 2.0, 3.0])
        source = pick(rng, x, rng.integers(0, 255, (2, 3, 4)).astype(np.uint8))
        return Case("Rescaling", {"scale": scale, "offset": offset}, [source], generation=generation)
    if what == 1:
        arguments = {"axis": axis, **statistics, "invert": chance(rng, 0.3)}
        return Case("Normalization", arguments, [x], generation=generation)
    if what == 2:
        mode = pick(rng, "multi_hot", "one_hot", "count")
        if generation == 2 and mode == "one_hot":
            ids = ids[:, :1]
        return Case("CategoryEncoding", {"num_tokens": 6, "output_mode": mode}, [ids], generation=generation)
    mode = pick(rng, "int", "one_hot", "multi_hot", "count") if generation == 3 else "int"
    arguments = {"bin_boundaries": [-1.0, 0.0, 0.5], "output_mode": mode}
    return Case("Discretization", arguments, [data(rng, 2, 4)], generation=generation)


def identity_case(rng: Rng, generation: int) -> Case:
    """Layers that pass."""
    kind, arguments = pick(
        rng, ("Dropout", {"rate": 0.5}), ("GaussianNoise", {"stddev": 0.5}), ("SpatialDropout1D", {"rate": 0.5}),
        ("ActivityRegularization", {"l2": 0.1}), ("GaussianDropout", {"rate": 0.5}), ("AlphaDropout", {"rate": 0.5}),
        ("Masking", {"mask_value": 0.0}), ("Masking", {"mask_value": 1.5}),
    )  # fmt: skip
    x = sequence(rng, 3)
    if kind == "Masking":
        x[:, 1] = arguments["mask_value"]
    return Case(kind, arguments, [x], generation=generation)


def cell_arguments(rng: Rng, kind: str, generation: int) -> dict[str, Any]:
    """Units, activations, biases."""
    arguments: dict[str, Any] = {"units": int(rng.integers(1, 6)), "use_bias": chance(rng, 0.8)}
    if chance(rng, 0.3):
        arguments["activation"] = pick(rng, "relu", "sigmoid", "softsign", "elu", "linear", "gelu", "swish")
    if kind != "SimpleRNN" and chance(rng, 0.4):
        arguments["recurrent_activation"] = pick(rng, "hard_sigmoid", "tanh", "softsign", "hard_sigmoid")
    if kind == "GRU":
        arguments["reset_after"] = chance(rng, 0.6)
    return arguments


def recurrent_case(rng: Rng, generation: int) -> Case:
    """SimpleRNN, GRU, LSTM."""
    kind = pick(rng, "SimpleRNN", "GRU", "LSTM")
    arguments = cell_arguments(rng, kind, generation) | {
        "return_sequences": chance(rng, 0.5), "return_state": chance(rng, 0.3), "go_backwards": chance(rng, 0.3),
        "unroll": chance(rng, 0.2),
    }  # fmt: skip
    x = sequence(rng, int(rng.integers(1, 5)))
    case = Case(kind, arguments, [x], generation=generation, unbound=pick(rng, (0,), (0, 1)))
    if chance(rng, 0.3):
        case.states = [data(rng, len(x), arguments["units"]) for _ in range(2 if kind == "LSTM" else 1)]
    if chance(rng, 0.3):
        case.call = {"mask": some_mask(rng, x)}
        arguments["unroll"] = False
        if chance(rng, 0.3) and generation == 3:
            arguments["zero_output_for_mask"] = True
    elif generation == 2 and chance(rng, 0.2):
        arguments["time_major"], arguments["unroll"] = True, False
        case.inputs, case.unbound = [x.swapaxes(0, 1).copy()], (1,)
    return case


def stacked_case(rng: Rng, generation: int) -> Case:
    """RNN over cells."""
    cells = [pick(rng, "SimpleRNN", "GRU", "LSTM") for _ in range(int(rng.integers(1, 4)))]
    inner = [Inner(f"{kind}Cell", cell_arguments(rng, kind, generation)) for kind in cells]
    arguments = {
        "cell": inner, "return_sequences": chance(rng, 0.5), "return_state": chance(rng, 0.3),
        "go_backwards": chance(rng, 0.3),
    }  # fmt: skip
    x = sequence(rng, int(rng.integers(1, 5)))
    case = Case("RNN", arguments, [x], generation=generation)
    if chance(rng, 0.25):
        case.call = {"mask": some_mask(rng, x)}
    return case


def bidirectional_case(rng: Rng, generation: int) -> Case:
    """Both ways."""
    kind = pick(rng, "SimpleRNN", "GRU", "LSTM")
    held = cell_arguments(rng, kind, generation) | {
        "return_sequences": chance(rng, 0.5), "return_state": chance(rng, 0.25),
    }  # fmt: skip
    arguments = {"layer": Inner(kind, held), "merge_mode": pick(rng, "concat", "concat", "sum", "ave", "mul", None)}
    if arguments["merge_mode"] is None:
        held["return_state"] = False
    x = sequence(rng, int(rng.integers(1, 5)))
    case = Case("Bidirectional", arguments, [x], generation=generation)
    if chance(rng, 0.25):
        case.call = {"mask": some_mask(rng, x)}
    return case


def time_distributed_case(rng: Rng, generation: int) -> Case:
    """An inner layer on every step."""
    inner, x = pick(
        rng, (Inner("Dense", {"units": 3, "activation": "relu"}), sequence(rng, 4)),
        (Inner("Conv2D", {"filters": 2, "kernel_size": 3, "padding": pick(rng, "same", "valid")}), sequence(rng, 6, 5, 2)),
        (Inner("LSTM", {"units": 3}), sequence(rng, 4, 2)), (Inner("Flatten", {}), sequence(rng, 2, 3)),
        (Inner("BatchNormalization", {}), sequence(rng, 2, 3)), (Inner("MaxPooling2D", {}), sequence(rng, 4, 5, 2)),
        (Inner("GlobalAveragePooling2D", {}), sequence(rng, 4, 5, 2)), (Inner("LayerNormalization", {}), sequence(rng, 3)),
        (Inner("Dropout", {"rate": 0.4}), sequence(rng, 3)), (Inner("Reshape", {"target_shape": [3, 2]}), sequence(rng, 6)),
    )  # fmt: skip
    return Case("TimeDistributed", {"layer": inner}, [x], generation=generation, unbound=pick(rng, (0,), (0, 1)))


def conv_lstm_case(rng: Rng, generation: int) -> Case:
    """Images in time."""
    count = pick(rng, 1, 2, 2, 3)
    arguments = {
        "filters": int(rng.integers(1, 4)), **geometry(rng, count, dilated=count < 3), "use_bias": chance(rng, 0.8),
        "return_sequences": chance(rng, 0.5), "return_state": chance(rng, 0.3), "go_backwards": chance(rng, 0.3),
    }  # fmt: skip
    x = data(rng, int(rng.integers(1, 3)), int(rng.integers(2, 4)), *(int(rng.integers(7, 9)) for _ in range(count)), 2)
    case = Case(f"ConvLSTM{count}D", arguments, [x], generation=generation)
    if chance(rng, 0.25):
        case.call = {"mask": some_mask(rng, x)}
    elif generation == 3 and chance(rng, 0.15):
        arguments["data_format"] = "channels_first"
        case.inputs = [np.moveaxis(x, -1, 2)]
    return case


def multi_head_case(rng: Rng, generation: int) -> Case:
    """Self and cross attention. Heads of one number are left out: Keras 3.15 on TensorFlow takes their bias for one
    along the time (`bias_add` by a squeezed shape), which other backends do not.
    """
    batch, depth = int(rng.integers(1, 3)), int(rng.integers(2, 6))
    query, value = data(rng, batch, int(rng.integers(2, 6)), depth), data(rng, batch, int(rng.integers(2, 6)), depth)
    inputs = [query, value] + ([data(rng, *value.shape)] if chance(rng, 0.3) else [])
    arguments: dict[str, Any] = {
        "num_heads": int(rng.integers(1, 4)), "key_dim": int(rng.integers(2, 6)), "use_bias": chance(rng, 0.7),
        "value_dim": pick(rng, None, 3), "output_shape": pick(rng, None, None, 5), "dropout": pick(rng, 0.0, 0.1),
    }  # fmt: skip
    kind, call = "MultiHeadAttention", dict[str, Any]()
    if generation == 3 and chance(rng, 0.4):
        heads = int(rng.integers(1, 3))
        kind = "GroupQueryAttention"
        arguments = {
            "head_dim": int(rng.integers(2, 6)), "num_query_heads": heads * int(rng.integers(1, 3)),
            "num_key_value_heads": heads, "use_bias": chance(rng, 0.7),
        }  # fmt: skip
    if chance(rng, 0.3):
        call["use_causal_mask"] = True
    if chance(rng, 0.3):
        mask = rng.random((batch, query.shape[1], value.shape[1])) < 0.7
        mask[..., 0] = True
        call["attention_mask"] = mask
    if chance(rng, 0.2):
        call["return_attention_scores"] = True
    return Case(kind, arguments, inputs, "args", call, generation=generation, unbound=pick(rng, (0,), (0, 1)))


def wide_attention_case(rng: Rng, generation: int) -> Case:
    """Over some axes of pictures or films."""
    shape = [int(rng.integers(1, 3)), *(int(rng.integers(2, 4)) for _ in range(int(rng.integers(2, 4)))), 4]
    axes = sorted({int(rng.integers(1, len(shape) - 1)) for _ in range(2)})
    arguments = {
        "num_heads": int(rng.integers(1, 3)), "key_dim": int(rng.integers(2, 5)), "use_bias": chance(rng, 0.7),
        "attention_axes": pick(rng, None, axes), "value_dim": pick(rng, None, 3),
    }  # fmt: skip
    call = {"return_attention_scores": True} if chance(rng, 0.3) else {}
    return Case("MultiHeadAttention", arguments, [data(rng, *shape)] * 2, "args", call, generation=generation)


def attention_case(rng: Rng, generation: int) -> Case:
    """Attention and AdditiveAttention."""
    batch, depth = int(rng.integers(1, 3)), int(rng.integers(2, 6))
    query, value = data(rng, batch, int(rng.integers(2, 6)), depth), data(rng, batch, int(rng.integers(2, 6)), depth)
    inputs = [query, value] + ([data(rng, *value.shape)] if chance(rng, 0.4) else [])
    kind, arguments = pick(
        rng, ("Attention", {"use_scale": chance(rng, 0.5), "score_mode": pick(rng, "dot", "concat")}),
        ("AdditiveAttention", {"use_scale": chance(rng, 0.5)}),
    )  # fmt: skip
    call: dict[str, Any] = {}
    if chance(rng, 0.3):
        call["use_causal_mask"] = True
    if chance(rng, 0.4):
        call["mask"] = [some_mask(rng, query), some_mask(rng, value)]
    return Case(kind, arguments, inputs, "list", call, generation=generation)


FAMILIES: dict[str, tuple[Callable[[Rng, int], Case], tuple[int, ...], int]] = {
    "conv": (conv_case, (3, 2), 4), "depthwise": (depthwise_case, (3, 2), 2), "separable": (separable_case, (3, 2), 2),
    "transposed": (transposed_case, (3, 2), 3), "pool": (pool_case, (3, 2), 3),
    "local": (local_case, (2,), 1),
    "global": (global_pool_case, (3, 2), 1), "adaptive": (adaptive_case, (3,), 1), "dense": (dense_case, (3, 2), 2),
    "einsum": (einsum_case, (3, 2), 1), "embedding": (embedding_case, (3, 2), 1), "reversible": (reversible_case, (3,), 1),
    "batch_norm": (batch_norm_case, (3, 2), 2), "layer_norm": (layer_norm_case, (3, 2), 2),
    "group_norm": (group_norm_case, (3, 2), 1), "unit_norm": (unit_norm_case, (3, 2), 1),
    "rms_norm": (rms_norm_case, (3,), 1), "spectral": (spectral_case, (3,), 1),
    "activation": (activation_case, (3, 3, 2), 3), "activation_layer": (activation_layer_case, (3, 2), 2),
    "merge": (merge_case, (3, 2), 2), "concatenate": (concatenate_case, (3, 2), 1), "dot": (dot_case, (3, 2), 1),
    "reshape": (reshape_case, (3, 2), 2), "border": (border_case, (3, 2), 2), "upsample": (upsample_case, (3, 2), 2),
    "resize": (resize_case, (3, 2), 2), "preprocessing": (preprocessing_case, (3, 2), 2),
    "identity": (identity_case, (3, 2), 1), "recurrent": (recurrent_case, (3, 2), 5), "stacked": (stacked_case, (3, 2), 2),
    "bidirectional": (bidirectional_case, (3, 2), 3), "time_distributed": (time_distributed_case, (3, 2), 2),
    "conv_lstm": (conv_lstm_case, (3, 2), 2), "multi_head": (multi_head_case, (3, 2), 3),
    "attention": (attention_case, (3, 2), 2), "wide_attention": (wide_attention_case, (3, 2), 1),
}  # fmt: skip
"""By family: how a case is made, for which generations, and how often."""


def cases(seed: int, count: int, only: Sequence[str] = ()) -> list[Case]:
    """`count` distinct cases."""
    rng = np.random.default_rng(seed)
    names = [name for name, (_, _, weight) in FAMILIES.items() if not only or name in only for _ in range(weight)]
    made: dict[str, Case] = {}
    tries = 0
    while len(made) < count and tries < 50 * count:
        tries += 1
        function, generations, _ = FAMILIES[pick(rng, *names)]
        case = function(rng, pick(rng, *generations))
        made.setdefault(case.key, case)
    return list(made.values())


def frameworks() -> dict[int, Any]:
    """Keras by generation, on TensorFlow."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras
    import tf_keras

    return {2: tf_keras, 3: keras}


def build(keras: Any, kind: str, arguments: Mapping[str, Any]) -> Any:
    """The Keras layer."""
    made = {name: _argument(keras, item) for name, item in arguments.items()}
    return getattr(keras.layers, kind)(**made)


def _argument(keras: Any, item: Any) -> Any:
    if isinstance(item, Inner):
        return build(keras, item.kind, item.arguments)
    if isinstance(item, list) and any(isinstance(part, Inner) for part in item):
        parts = [_argument(keras, part) for part in item]
        return parts if len(parts) > 1 else parts[0]
    return item


class Refused(Exception):
    """Keras itself would not take the case."""


def oracle(keras: Any, case: Case, rng: Rng) -> tuple[Any, list[Array]]:
    """The layer, with random weights, and what it makes of the inputs."""
    try:
        layer = build(keras, case.kind, case.arguments)
        called(layer, case)
        layer.set_weights([_weight(rng, weight) for weight in layer.weights])
        made = called(layer, case)
    except Exception as error:  # whatever a foreign framework raises means that it refuses the case
        raise Refused(f"{type(error).__name__}: {error}") from error
    results = [np.asarray(item) for item in flat(made)]
    if _bias_on_the_wrong_axis(case, results[0]):
        raise Refused("Keras 3.15 on TensorFlow adds the bias of channels-first data to a last axis of the same size")
    return layer, results


def _bias_on_the_wrong_axis(case: Case, made: Array) -> bool:
    first = case.generation == 3 and case.arguments.get("data_format") == "channels_first"
    return first and bool(case.arguments.get("use_bias")) and made.shape[-1] == case.arguments.get("filters")


def flat(made: Any) -> list[Any]:
    """Tensors of a nested result."""
    if isinstance(made, list | tuple):
        return [item for part in made for item in flat(part)]
    return [made]


def called(layer: Any, case: Case) -> Any:
    """One call, in inference."""
    call = dict(case.call)
    if case.states:
        call["initial_state"] = list(case.states)
    call = {key: _tensors(item) for key, item in call.items()}
    inputs = [_tensors(item) for item in case.inputs]
    if case.style == "list":
        return layer(inputs, **call)
    return layer(*inputs, **call)


def _tensors(item: Any) -> Any:
    import tensorflow as tf

    if isinstance(item, np.ndarray):
        return tf.constant(item)
    return [_tensors(part) for part in item] if isinstance(item, list) else item


def _weight(rng: Rng, weight: Any) -> Array:
    if "variance" in weight.name:
        return rng.uniform(0.5, 2, weight.shape).astype(np.float32)
    if "count" in weight.name:
        return np.zeros(weight.shape, np.int64)
    return rng.normal(scale=0.5, size=tuple(weight.shape)).astype(np.float32)


def layer_record(layer: Any, case: Case, tensors: Callable[[Array], Any]) -> Any:
    """What our readers get. tensors: makes a tensor of this side's kind of an array of the call."""
    from bessemer.runners.keras.layer import Layer

    config = json.loads(json.dumps(layer.get_config(), default=_plain))
    call = {key: _mapped(item, tensors) for key, item in case.call.items()}
    weights = tuple(np.asarray(weight) for weight in layer.weights)
    return Layer(layer.name, type(layer).__name__, config, weights, case.generation, layer.name, call)


def _mapped(item: Any, tensors: Callable[[Array], Any]) -> Any:
    if isinstance(item, list):
        return [tensors(part) for part in item]
    return tensors(item) if isinstance(item, np.ndarray) else item


def _plain(item: Any) -> Any:
    if isinstance(item, np.ndarray | np.generic):
        return item.tolist()
    if type(item).__name__ == "TensorShape":
        return list(item)
    raise TypeError(f"{type(item).__name__} in a config")


def close(got: Sequence[Array], want: Sequence[Array]) -> str:
    """'' where they agree within float32's noise, else what is wrong."""
    if len(got) != len(want):
        return f"{len(got)} outputs for {len(want)}"
    for place, (ours, theirs) in enumerate(zip(got, want, strict=True)):
        if ours.shape != theirs.shape:
            return f"output {place}: shape {ours.shape} for {theirs.shape}"
        bound = 2e-4 * max(1.0, float(np.abs(theirs.astype(np.float64)).max(initial=0)))
        gap = np.abs(ours.astype(np.float64) - theirs.astype(np.float64)).max(initial=0)
        if not gap <= bound:
            return f"output {place}: off by {gap:.3g}"
    return ""


def drawn(layer: Any, case: Case) -> tuple[Any, dict[str, Array]]:
    """The graph as an onnx_ir.Model, and what to feed it. Raises Unsupported."""
    import onnx_ir

    from bessemer.sources.drawing import Canvas, Ordered
    from bessemer.sources.keras.registry import readers

    canvas = Canvas([])
    canvas.layer = layer.name
    feeds: dict[str, Array] = {}
    borders = []

    def tensor(array: Array) -> Ordered:
        name = f"x{len(feeds)}"
        shape = tuple(
            ("batch" if axis == 0 else None) if axis in case.unbound else dim for axis, dim in enumerate(array.shape)
        )
        kind = onnx_ir.DataType.from_numpy(array.dtype)
        made = canvas.input(name, shape, kind)
        feeds[name] = array
        borders.append(canvas.at(made))
        return made

    inputs = [tensor(array) for array in (*case.inputs, *case.states)]
    record = layer_record(layer, case, tensor)
    made = readers()[record.kind](canvas, record, inputs)
    outputs = [made] if isinstance(made, Ordered) else list(made)
    canvas.layer = "output"
    values = [canvas.emit("Identity", [canvas.at(item)]) for item in outputs]
    for value, item in zip(values, outputs, strict=True):
        value.shape = onnx_ir.Shape(list(item.shape))
    return onnx_ir.Model(canvas.graph(borders, values, "layer"), ir_version=11), feeds


def in_onnxruntime(model: Any, feeds: Mapping[str, Array]) -> list[Array]:
    """What ONNX Runtime makes of a drawn graph."""
    import onnx_ir
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(onnx_ir.to_proto(model).SerializeToString(), options)
    return list(session.run(None, dict(feeds)))


def evaluated(layer: Any, case: Case) -> list[Array]:
    """What the reference evaluator makes of the layer."""
    from bessemer.runners.keras.registry import evaluators

    record = layer_record(layer, case, lambda array: array)
    made = evaluators()[record.kind](record, [*case.inputs, *case.states])
    return flat(list(made) if isinstance(made, list | tuple) else made)


def judged(known: Mapping[int, Any], case: Case, number: int) -> list[tuple[str, str]]:
    """('drawn', problem) and ('evaluated', problem), '' where there is none; ('oracle', why) where Keras refuses."""
    from bessemer.sources.drawing import Unsupported

    try:
        layer, wanted = oracle(known[case.generation], case, np.random.default_rng(number))
    except Refused as refusal:
        return [("oracle", str(refusal))]
    verdicts = []
    try:
        model, feeds = drawn(layer, case)
        verdicts.append(("drawn", close(in_onnxruntime(model, feeds), wanted)))
    except Unsupported as refusal:
        verdicts.append(("drawn", f"declined: {refusal.rule}: {refusal}"))
    verdicts.append(("evaluated", close(evaluated(layer, case), wanted)))
    return verdicts


def in_target(target: str, known: Mapping[int, Any], case: Case, number: int, folder: Path) -> str:
    """What is wrong with a case on the whole road to a target, every size bound; 'declined: ...' where it is."""
    from bessemer.ir.errors import Declined
    from bessemer.ir.model import Model, Origin
    from bessemer.opening import normalise
    from bessemer.request import ConvertOptions
    from bessemer.sources.drawing import Unsupported
    from bessemer.targets.registry import find, validate
    from bessemer.verify.compare import from_artifact, to_artifact

    bound = replace(case, unbound=())
    try:
        layer, wanted = oracle(known[case.generation], bound, np.random.default_rng(number))
        graph, feeds = drawn(layer, bound)
        model = Model(graph, Origin("keras", folder / "case.keras"))
        normalise(model, ConvertOptions())
        lowering = find(target).load()
        prepared = lowering.prepare(model, validate(target, lowering, {}))
        runner = lowering.runner(lowering.write(prepared, folder, f"case{number}").path)
    except (Refused, Unsupported) as refusal:
        return f"declined: {refusal}"
    except Declined as refusal:
        return "declined: " + "; ".join(sorted({blocker.reason for blocker in refusal.blockers}))
    made = runner.run(to_artifact(feeds, prepared.inputs))
    return close([from_artifact(made[border.name], border) for border in prepared.outputs.values()], wanted)
