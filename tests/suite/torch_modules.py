"""Small torch modules drawn by a seed, and what their conversions answer beside torch itself.

A module is a chain of layers over one kind of value: images (N, C, H, W), signals (N, C, L), sequences (N, T, F), vectors
(N, F) or tokens (N, T) of integers. Layers may change the kind. `text` names everything that was drawn: two modules of
one text are one module.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

Shape = tuple[int, ...]
Layer = tuple[str, nn.Module | None, Callable[[Any], Any], str, Shape]
"""(text, parameters, function, kind of the result, its shape without the batch)."""


class Chain(nn.Module):
    """The layers one after the other; some answers are handed out on the way."""

    def __init__(self, layers: list[Layer], taps: set[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList([held if held is not None else nn.Identity() for _, held, _, _, _ in layers])
        self.steps = [function for _, _, function, _, _ in layers]
        self.taps = taps

    def forward(self, x: Any) -> Any:
        answers = {}
        for place, step in enumerate(self.steps):
            x = step(x)
            if place in self.taps:
                answers[f"tap{place}"] = x
        return {**answers, "last": x}


@dataclass(frozen=True)
class Drawn:
    """A module with its example, and the text of all that was drawn."""

    text: str
    module: nn.Module
    example: Any
    free: bool
    tables: int = 0
    seed: int = 0
    kinds: tuple[str, ...] = field(default=())


ACTIVATIONS: tuple[Callable[[], nn.Module], ...] = (
    nn.ReLU, nn.ReLU6, nn.GELU, lambda: nn.GELU(approximate="tanh"), nn.SiLU, nn.Mish, nn.Sigmoid, nn.Tanh, nn.ELU, nn.SELU,
    nn.CELU, nn.Softplus, nn.Softsign, nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.LeakyReLU, nn.LogSigmoid, nn.Tanhshrink,
    nn.Hardshrink, nn.Softshrink, lambda: nn.Threshold(0.1, -0.5), nn.PReLU,
)  # fmt: skip


def module_layer(made: nn.Module, kind: str, shape: Shape) -> Layer:
    return str(made), made, made, kind, shape


def math_layer(text: str, function: Callable[[Any], Any], kind: str, shape: Shape) -> Layer:
    return text, None, function, kind, shape


def activation(draw: random.Random, kind: str, shape: Shape) -> Layer:
    return module_layer(draw.choice(ACTIVATIONS)(), kind, shape)


def arithmetic(draw: random.Random, kind: str, shape: Shape) -> Layer:
    number = round(draw.uniform(0.3, 2.0), 3)
    choices: list[tuple[str, Callable[[Any], Any]]] = [
        (f"x*{number}+1", lambda x: x * number + 1), (f"clamp {number}", lambda x: torch.clamp(x, -number, number)),
        ("exp of minus abs", lambda x: torch.exp(-x.abs())), ("log1p abs", lambda x: torch.log1p(x.abs())),
        (f"remainder {number}", lambda x: torch.remainder(torch.floor(x * 8), 5.0)), ("x-|x|", lambda x: x - x.abs()),
        ("where", lambda x: torch.where(x > 0, x, x * 0.25)),
        (f"pow2 {number}", lambda x: torch.pow(x, 2) / (x.abs() + number)),
        ("sqrt", lambda x: torch.sqrt(x * x + 0.5)), ("rsqrt", lambda x: torch.rsqrt(x * x + 0.5)),
        ("sin+cos", lambda x: torch.sin(x) + torch.cos(x)), ("atan2", lambda x: torch.atan2(x, x.abs() + 1)),
        ("maximum", lambda x: torch.maximum(x, -x * 0.5)), ("sign", lambda x: x * torch.sign(x)),
        ("round", lambda x: torch.round(x * 4) / 4), ("erf", torch.erf), ("square", torch.square), ("reciprocal",
         lambda x: torch.reciprocal(x.abs() + 1)), ("masked", lambda x: x.masked_fill(x < -0.5, 0.0)),
        ("lerp", lambda x: torch.lerp(x, x * x, 0.3)), ("addcmul", lambda x: torch.addcmul(x, x, x, value=0.5)),
        ("logaddexp", lambda x: torch.logaddexp(x, -x)), ("fmod", lambda x: torch.fmod(x, number)),
        ("floor_divide", lambda x: torch.floor_divide(x * 4, 3.0)), ("isnan", lambda x: torch.nan_to_num(x)),
        ("threshold mix", lambda x: ((x > 0) & (x < 1)).to(x.dtype) * x + (~(x > 0)).to(x.dtype)),
    ]  # fmt: skip
    return math_layer(*draw.choice(choices), kind, shape)


def conv2d(draw: random.Random, kind: str, shape: Shape) -> Layer:
    channels, height, width = shape
    groups = draw.choice([1, 1, 1, channels, 2 if channels % 2 == 0 else 1])
    out = groups * draw.choice([1, 2, 3])
    kernel, stride, dilation = draw.choice([1, 3, (3, 1), 5]), draw.choice([1, 1, 2]), draw.choice([1, 1, 2])
    kernels = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    padding: Any = draw.choice([0, 1, 2, "same"]) if stride == 1 else draw.choice([0, 1, 2])
    mode = draw.choice(["zeros", "zeros", "zeros", "reflect", "replicate", "circular"])
    pads = [0 if padding == "same" else int(padding)] * 2
    sizes = []
    for size, window, pad in zip((height, width), kernels, pads, strict=True):
        span = dilation * (window - 1) + 1
        sizes.append(size if padding == "same" else (size + 2 * pad - span) // stride + 1)
    if min(sizes) < 1 or (mode != "zeros" and (padding == "same" or max(pads) >= min(height, width))):
        return activation(draw, kind, shape)
    made = nn.Conv2d(channels, out, kernel, stride, padding, dilation, groups, draw.random() < 0.7, mode)
    return module_layer(made, kind, (out, *sizes))


def transposed2d(draw: random.Random, kind: str, shape: Shape) -> Layer:
    channels, height, width = shape
    out, kernel, stride = draw.choice([1, 2, 4]), draw.choice([2, 3, 4]), draw.choice([1, 2])
    padding, extra = draw.choice([0, 1]), draw.choice([0, 1]) if stride == 2 else 0
    sizes = [(size - 1) * stride - 2 * padding + kernel + extra for size in (height, width)]
    if min(sizes) < 1 or max(sizes) > 40:
        return activation(draw, kind, shape)
    return module_layer(nn.ConvTranspose2d(channels, out, kernel, stride, padding, extra), kind, (out, *sizes))


def pool2d(draw: random.Random, kind: str, shape: Shape) -> Layer:
    channels, height, width = shape
    which = draw.choice(["max", "avg", "adaptive avg", "adaptive max", "lp"])
    if which.startswith("adaptive"):
        target = draw.choice([1, (1, 1), (2, 2), (height, 1)])
        wanted = (target, target) if isinstance(target, int) else target
        if height % wanted[0] or width % wanted[1]:
            return activation(draw, kind, shape)
        made: nn.Module = nn.AdaptiveAvgPool2d(target) if which.endswith("avg") else nn.AdaptiveMaxPool2d(target)
        return module_layer(made, kind, (channels, *wanted))
    kernel, stride, padding, ceil = draw.choice([2, 3]), draw.choice([1, 2]), draw.choice([0, 1]), draw.random() < 0.3
    if min(height, width) < kernel:
        return activation(draw, kind, shape)
    if which == "max":
        made = nn.MaxPool2d(kernel, stride, padding, ceil_mode=ceil)
    elif which == "avg":
        made = nn.AvgPool2d(kernel, stride, padding, ceil, draw.random() < 0.5)
    else:
        made = nn.LPPool2d(2, kernel, stride)
    probe = made(torch.zeros(1, *shape))
    return module_layer(made, kind, tuple(probe.shape[1:]))


def norm2d(draw: random.Random, kind: str, shape: Shape) -> Layer:
    channels = shape[0]
    made = draw.choice([
        lambda: nn.BatchNorm2d(channels), lambda: nn.InstanceNorm2d(channels, affine=True),
        lambda: nn.GroupNorm(1, channels),
        lambda: nn.GroupNorm(channels, channels), lambda: nn.LocalResponseNorm(3), lambda: nn.LayerNorm(shape[1:]),
    ])()  # fmt: skip
    if isinstance(made, nn.InstanceNorm2d) and shape[1] * shape[2] < 2:
        return activation(draw, kind, shape)
    return module_layer(made, kind, shape)


def resize2d(draw: random.Random, kind: str, shape: Shape) -> Layer:
    mode = draw.choice(["nearest", "bilinear", "bicubic", "nearest-exact"])
    corners = draw.choice([True, False]) if mode in ("bilinear", "bicubic") else None
    size = (min(2 * shape[1], 24), min(shape[2] + 3, 24)) if draw.random() < 0.5 else (2 * shape[1], 2 * shape[2])
    if max(size) > 32:
        return activation(draw, kind, shape)
    text = f"interpolate {size} {mode} {corners}"

    def resized(x: Any) -> Any:
        return functional.interpolate(x, size=size, mode=mode, align_corners=corners)

    return math_layer(text, resized, kind, (shape[0], *size))


def pad2d(draw: random.Random, kind: str, shape: Shape) -> Layer:
    mode = draw.choice(["constant", "reflect", "replicate", "circular"])
    pads = [draw.randint(0, max(0, min(2, size - 1))) for size in (shape[2], shape[2], shape[1], shape[1])]
    new = (shape[0], shape[1] + pads[2] + pads[3], shape[2] + pads[0] + pads[1])
    value = round(draw.uniform(-1, 1), 2) if mode == "constant" else None
    return math_layer(f"pad {pads} {mode} {value}", lambda x: functional.pad(x, pads, mode, value), kind, new)


def reshape2d(draw: random.Random, kind: str, shape: Shape) -> Layer:
    channels, height, width = shape
    choices: list[tuple[str, Callable[[Any], Any], str, Shape]] = [
        ("transpose", lambda x: x.transpose(2, 3), kind, (channels, width, height)),
        ("flip", lambda x: torch.flip(x, [2]), kind, shape), ("roll", lambda x: torch.roll(x, 1, 3), kind, shape),
        ("split", lambda x: torch.cat(torch.chunk(x, 2, 2)[::-1], 2), kind, shape),
        ("slices", lambda x: x[:, :, ::2, :], kind, (channels, (height + 1) // 2, width)),
        ("flatten", lambda x: torch.flatten(x, 1), "vector", (channels * height * width,)),
        ("tokens", lambda x: x.flatten(2).transpose(1, 2), "sequence", (height * width, channels)),
        ("mean", lambda x: x.mean((2, 3)), "vector", (channels,)),
        ("amax", lambda x: x.amax(3), "signal", (channels, height)),
        ("repeat", lambda x: x.repeat(1, 2, 1, 1), kind, (2 * channels, height, width)),
        ("stack", lambda x: torch.stack([x, -x], 2).flatten(1, 2), kind, (2 * channels, height, width)),
        ("gram", lambda x: torch.einsum("nchw,ndhw->ncd", x, x) / (height * width), "sequence", (channels, channels)),
        ("cumsum", lambda x: torch.cumsum(x, 3) * 0.1, kind, shape),
    ]  # fmt: skip
    if height % 2 == 0 and width % 2 == 0:
        made = (4 * channels, height // 2, width // 2)
        choices.append(("unshuffle", lambda x: functional.pixel_unshuffle(x, 2), kind, made))
    if channels % 4 == 0:
        choices.append(("shuffle", lambda x: functional.pixel_shuffle(x, 2), kind, (channels // 4, 2 * height, 2 * width)))
    if channels % 2 == 0:
        choices.append(("channel shuffle", lambda x: functional.channel_shuffle(x, 2), kind, shape))
        choices.append(("glu", lambda x: functional.glu(x, 1), kind, (channels // 2, height, width)))
    return math_layer(*draw.choice(choices))


def residual2d(draw: random.Random, kind: str, shape: Shape) -> Layer:
    channels = shape[0]
    body = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU())
    return f"residual {body}", body, lambda x: x + body(x), kind, shape


def gate2d(draw: random.Random, kind: str, shape: Shape) -> Layer:
    channels = shape[0]
    body = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels, 1), nn.Sigmoid())
    return f"gate {body}", body, lambda x: x * body(x), kind, shape


def conv1d(draw: random.Random, kind: str, shape: Shape) -> Layer:
    channels, length = shape
    out, kernel, stride, padding = draw.choice([2, 4]), draw.choice([1, 2, 3]), draw.choice([1, 2]), draw.choice([0, 1])
    size = (length + 2 * padding - kernel) // stride + 1
    if size < 1:
        return activation(draw, kind, shape)
    if draw.random() < 0.3 and length < 20:
        made: nn.Module = nn.ConvTranspose1d(channels, out, kernel + 1, stride)
        return module_layer(made, kind, (out, (length - 1) * stride + kernel + 1))
    return module_layer(nn.Conv1d(channels, out, kernel, stride, padding), kind, (out, size))


def misc1d(draw: random.Random, kind: str, shape: Shape) -> Layer:
    channels, length = shape
    choices: list[Layer] = [
        module_layer(nn.BatchNorm1d(channels), kind, shape),
        math_layer("to sequence", lambda x: x.transpose(1, 2), "sequence", (length, channels)),
        math_layer("mean", lambda x: x.mean(2), "vector", (channels,)),
        math_layer(
            "upsample", lambda x: functional.interpolate(x, scale_factor=2.0, mode="linear"), kind, (channels, 2 * length)
        ),
        math_layer("std", lambda x: torch.std(x, 1), "vector", (length,)) if channels > 1 else activation(draw, kind, shape),
        math_layer("lift", lambda x: x.unsqueeze(1), "image", (1, channels, length)),
    ]
    if length > 2:
        choices += [
            module_layer(nn.MaxPool1d(2), kind, (channels, length // 2)),
            module_layer(nn.AvgPool1d(2), kind, (channels, length // 2)),
            math_layer("unfold", lambda x: x.unfold(2, 2, 1).flatten(2), kind, (channels, 2 * (length - 1))),
        ]
    return draw.choice(choices)


def recurrent(draw: random.Random, kind: str, shape: Shape) -> Layer:
    steps, features = shape
    cell, hidden = draw.choice([nn.LSTM, nn.GRU, nn.RNN]), draw.choice([2, 3, 5])
    both, layers = draw.random() < 0.4, draw.choice([1, 1, 2])
    made = cell(features, hidden, layers, batch_first=True, bidirectional=both, bias=draw.random() < 0.8)
    last = draw.random() < 0.4
    width = hidden * (1 + both)
    if last:
        return f"{made} last", made, lambda x: made(x)[0][:, -1], "vector", (width,)
    return str(made), made, lambda x: made(x)[0], kind, (steps, width)


class SelfAttention(nn.Module):
    """nn.MultiheadAttention over itself, perhaps causal."""

    def __init__(self, features: int, heads: int, causal: bool, steps: int) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(features, heads, batch_first=True)
        mask = torch.full((steps, steps), float("-inf")).triu(1) if causal else None
        self.register_buffer("mask", mask)

    def forward(self, x: Any) -> Any:
        return self.inner(x, x, x, attn_mask=self.mask, need_weights=False)[0]


def attention(draw: random.Random, kind: str, shape: Shape) -> Layer:
    steps, features = shape
    heads = draw.choice([item for item in (1, 2, 4) if features % item == 0])
    which = draw.choice(["multihead", "plain", "encoder", "weights"])
    if which == "multihead":
        causal = draw.random() < 0.5
        made: nn.Module = SelfAttention(features, heads, causal, steps)
        return f"attention {features} {heads} {causal}", made, made, kind, shape
    if which == "encoder":
        made = nn.TransformerEncoderLayer(features, heads, 2 * features, batch_first=True, norm_first=draw.random() < 0.5)
        return f"encoder {features} {heads} {made.norm_first}", made, made, kind, shape
    causal = draw.random() < 0.5
    if which == "plain":
        text = f"sdpa causal={causal}"
        dot = functional.scaled_dot_product_attention
        return math_layer(text, lambda x: dot(x, x * 0.5, x, is_causal=causal), kind, shape)
    return math_layer("softmax product", lambda x: torch.softmax(x @ x.transpose(1, 2), -1) @ x, kind, shape)


def sequence_layer(draw: random.Random, kind: str, shape: Shape) -> Layer:
    steps, features = shape
    choices: list[Callable[[], Layer]] = [
        lambda: module_layer(nn.Linear(features, 4, bias=draw.random() < 0.7), kind, (steps, 4)),
        lambda: module_layer(nn.LayerNorm(features), kind, shape), lambda: module_layer(nn.RMSNorm(features), kind, shape),
        lambda: math_layer("softmax", lambda x: torch.softmax(x, 1), kind, shape),
        lambda: math_layer("log_softmax", lambda x: functional.log_softmax(x, -1), kind, shape),
        lambda: math_layer("to signal", lambda x: x.transpose(1, 2), "signal", (features, steps)),
        lambda: math_layer("mean", lambda x: x.mean(1), "vector", (features,)),
        lambda: math_layer("max", lambda x: x.max(1).values, "vector", (features,)),
        lambda: math_layer("logsumexp", lambda x: torch.logsumexp(x, 1), "vector", (features,)),
        lambda: math_layer("sort", lambda x: torch.sort(x, 1).values, kind, shape),
        lambda: math_layer("topk", lambda x: torch.topk(x, min(2, steps), 1).values, kind, (min(2, steps), features)),
        lambda: math_layer("tril", lambda x: torch.tril(x), kind, shape),
        lambda: math_layer("cdist", lambda x: torch.cdist(x, x[:, :1] + 1.0), kind, (steps, 1)),
        lambda: math_layer("index", lambda x: x[:, torch.arange(steps - 1, -1, -1)], kind, shape),
        lambda: math_layer("positions", lambda x: x + torch.arange(steps).unsqueeze(1) * 0.1, kind, shape),
        lambda: math_layer("normalize", lambda x: functional.normalize(x, dim=-1), kind, shape),
        lambda: math_layer("prod", lambda x: torch.prod(x, 1), "vector", (features,)),
        lambda: math_layer("argmax gather", lambda x: torch.gather(x, 1, x.argmax(1, keepdim=True)), kind, (1, features)),
    ]  # fmt: skip
    return draw.choice(choices)()


def vector_layer(draw: random.Random, kind: str, shape: Shape) -> Layer:
    (features,) = shape
    out = draw.choice([3, 6, 8])
    choices: list[Callable[[], Layer]] = [
        lambda: module_layer(nn.Linear(features, out, bias=draw.random() < 0.7), kind, (out,)),
        lambda: module_layer(nn.BatchNorm1d(features), kind, shape),
        lambda: module_layer(nn.LayerNorm(features), kind, shape),
        lambda: math_layer("softmax", lambda x: torch.softmax(x, 1), kind, shape),
        lambda: math_layer("outer", lambda x: torch.einsum("ni,nj->nij", x, x), "sequence", (features, features)),
        lambda: math_layer("lift", lambda x: x.reshape(x.shape[0], 1, features), "signal", (1, features)),
        lambda: math_layer("var", lambda x: (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True) + 1), kind, shape),
        lambda: math_layer("norm", lambda x: x / (torch.linalg.norm(x, dim=1, keepdim=True) + 1), kind, shape),
        lambda: math_layer("cat", lambda x: torch.cat([x, x.abs()], 1), kind, (2 * features,)),
        lambda: math_layer("one_hot", lambda x: functional.one_hot(x.argmax(1), features).float(), kind, shape),
    ]  # fmt: skip
    return draw.choice(choices)()


LAYERS: dict[str, tuple[Callable[[random.Random, str, Shape], Layer], ...]] = {
    "image": (conv2d, conv2d, transposed2d, pool2d, norm2d, resize2d, pad2d, reshape2d, reshape2d, residual2d, gate2d,
              activation, arithmetic),
    "signal": (conv1d, conv1d, misc1d, misc1d, activation, arithmetic),
    "sequence": (sequence_layer, sequence_layer, recurrent, attention, attention, activation, arithmetic),
    "vector": (vector_layer, vector_layer, activation, arithmetic),
}  # fmt: skip


def drawn(seed: int) -> Drawn:
    """The module of a seed."""
    draw = random.Random(seed)
    torch.manual_seed(seed)
    kind = draw.choice(["image", "image", "signal", "sequence", "vector", "tokens"])
    layers: list[Layer] = []
    tables = 0
    shape: Shape = {
        "image": (draw.choice([1, 3, 4]), draw.choice([5, 8, 9]), draw.choice([6, 8, 11])),
        "signal": (draw.choice([2, 3]), draw.choice([7, 12])), "sequence": (draw.choice([3, 6]), draw.choice([4, 8])),
        "vector": (draw.choice([5, 8]),), "tokens": (draw.choice([4, 7]),),
    }[kind]  # fmt: skip
    example: Any = torch.randn(2, *shape)
    if kind == "tokens":
        tables, width = 11, draw.choice([4, 8])
        example = torch.randint(0, tables, (2, *shape))
        layers.append(module_layer(nn.Embedding(tables, width), "sequence", (*shape, width)))
        kind, shape = "sequence", (*shape, width)
    start, kinds = kind, [kind]
    for _ in range(draw.randint(1, 4)):
        layer = draw.choice(LAYERS[kind])(draw, kind, shape)
        layers.append(layer)
        kind, shape = layer[3], layer[4]
        kinds.append(kind)
    taps = {place for place in range(len(layers) - 1) if draw.random() < 0.15}
    module = Chain(layers, taps).eval()
    _train(module)
    free = draw.random() < 0.4
    text = f"{start} {list(example.shape)} {[item[0] for item in layers]} {sorted(taps)} {free}"
    return Drawn(text, module, example, free, tables, seed, tuple(kinds))


def _train(module: nn.Module) -> None:
    """Statistics and affine parts as training leaves them."""
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.running_mean is not None:
                part.running_mean.normal_(0, 0.3)
                part.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]  # it has both or neither
                part.weight.uniform_(0.5, 1.5)
                part.bias.normal_(0, 0.3)


def other_inputs(item: Drawn) -> list[Any]:
    """The example, and another draw; of another batch size where that is free."""
    torch.manual_seed(item.seed + 1)
    batch = 3 if item.free else item.example.shape[0]
    size = (batch, *item.example.shape[1:])
    other = torch.randint(0, item.tables, size) if item.tables else torch.randn(size) * 1.5
    return [item.example, other]


def departures(item: Drawn, target: str, folder: Path, bound: float = 1e-4) -> str:
    """'' where the converted module answers as torch does; raises Declined where it is not converted."""
    from bessemer.ir.model import Origin
    from bessemer.opening import normalise
    from bessemer.request import ConvertOptions
    from bessemer.sources.torch.examples import from_given
    from bessemer.sources.torch.export import module_model, named_outputs
    from bessemer.targets.registry import find, validate

    (first, *_) = inspect.signature(item.module.forward).parameters
    dynamic = {first: {0: torch.export.Dim("batch", min=1, max=64)}} if item.free else None
    model = module_model(item.module, from_given(item.example, dynamic), Origin("torch", folder / "drawn.py"))
    implementation = find(target).load()
    prepared = implementation.prepare(normalise(model, ConvertOptions()).model, validate(target, implementation, {}))
    runner = find(target).runner(implementation.write(prepared, folder, f"m{item.seed}").path)
    for given in other_inputs(item):
        with torch.no_grad():
            wanted = named_outputs(item.module(given), [first])
        border = prepared.inputs[first]
        fed = given.numpy().astype(border.dtype)
        found = runner.run({border.name: fed if border.perm is None else fed.transpose(border.perm)})
        for name, reference in wanted.items():
            place = prepared.outputs[name]
            answer, real = found[place.name], reference.numpy()
            answer = answer if place.perm is None else answer.transpose(np.argsort(place.perm))
            told = _departure(answer, real, bound)
            if told:
                return f"{name}: {told}"
    return ""


def _departure(answer: Any, real: Any, bound: float) -> str:
    if answer.shape != real.shape:
        return f"shape {answer.shape}, torch's {real.shape}"
    if real.size == 0:
        return ""
    if not np.array_equal(np.isfinite(answer), np.isfinite(real)):
        return "not finite in other places"
    held = np.isfinite(real)
    worst = float(np.max(np.abs(answer[held].astype(np.float64) - real[held]), initial=0.0))
    scale = float(np.max(np.abs(real[held]), initial=0.0))
    return f"differs by {worst:.3g} of {scale:.3g}" if worst > bound * max(scale, 1e-2) else ""
