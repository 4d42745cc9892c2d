"""An adapter in the weights themselves: `W + scale * B A`, row by row, and DoRA's norms (Liu et al. 2024, equation 5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from bessemer.architectures.lora.pairs import Low, Pairs, blocker, decline, for_base, pairs
from bessemer.ir.checkpoint import Bytes, Checkpoint, Lazy
from bessemer.ir.errors import Blocker
from bessemer.weights import views

Floats = views.Floats
Rows = Callable[[int, int], Floats]
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def merged(base: Checkpoint, adapter: Checkpoint, factor: float = 1.0) -> Checkpoint:
    """The model with the adapter in its weights, in the types that they had (float32 where those are blocks), read lazily.

    factor: scales the adapter further. Raises Declined with every pair that has no weight of its shape in the model.
    """
    found = pairs(for_base(adapter, base.config))
    base = _parted(base, {*found.low, *found.whole})
    blockers, tensors = list(found.blockers), dict(base.tensors)
    names = _spellings(base)
    for name, low in found.low.items():
        weight = tensors.get(names(name))
        reason = _unfit(weight, low)
        if weight is None or reason:
            blockers.append(blocker(name, reason, "tensor"))
        else:
            tensors[weight.name] = _sum(weight, low, factor)
    _replace(tensors, found, names, factor, blockers)
    decline(blockers, "Merging this adapter into this model")
    notes = [*base.notes, f"an adapter is merged into {len(found.low)} of its matrices{_times(factor)}"]
    return replace(base, tensors=tensors, notes=notes, records=None)


def _parted(base: Checkpoint, changed: set[str]) -> Checkpoint:
    """Embedding and output matrix, where they are one and one of them alone changes: two, as PEFT runs them unmerged."""
    tied = bool(base.config.get("tie_word_embeddings")) and EMBEDDING in base.tensors
    if not tied or (EMBEDDING in changed) == (HEAD in changed):
        return base
    tensors = {**base.tensors, HEAD: views.renamed(base.tensors[EMBEDDING], HEAD)}
    return replace(base, tensors=tensors, config={**base.config, "tie_word_embeddings": False})


def _times(factor: float) -> str:
    return "" if factor == 1 else f", times {factor:g}"


def _spellings(base: Checkpoint) -> Callable[[str], str]:
    """The model's own name of a weight: checkpoints have more or less of the prefixes that adapters spell out."""
    if not base.config:
        return lambda name: name
    from bessemer.architectures.base import find

    family = find(base.config)
    own = {family.spelled(name): name for name in base.tensors}
    return lambda name: own.get(family.spelled(name), name)


def _unfit(weight: Lazy | None, low: Low) -> str:
    if weight is None:
        return "the model has no such weight"
    if weight.shape != low.shape:
        return f"the weight is {list(weight.shape)}, the adapter is for {list(low.shape)}"
    if low.magnitude is not None and (low.turned or low.embedding):
        return "DoRA's norms of a matrix that is stored [inputs, outputs] are not merged"
    return ""


def _replace(
    tensors: dict[str, Lazy], found: Pairs, names: Callable[[str], str], factor: float, blockers: list[Blocker]
) -> None:
    """Whole tensors that were trained: in the place of the model's."""
    for name, tensor in found.whole.items():
        own = names(name.replace(".modules_to_save.default.", ".").replace(".modules_to_save.", "."))
        if own not in tensors or tensors[own].shape != tensor.shape:
            blockers.append(blocker(name, "the model has no such tensor of its shape", "tensor"))
        elif factor != 1:
            blockers.append(blocker(name, "a tensor that was trained whole cannot be scaled", "tensor"))
        else:
            tensors[own] = views.renamed(tensor, own)


def _sum(weight: Lazy, low: Low, factor: float) -> Lazy:
    """The weight with the product added, as a lazy tensor of the weight's own type."""
    from bessemer.blocks import encoded

    kind = weight.type if weight.type in views.FLOATING else "F32"
    delta = _delta(low, np.float32(low.scale * factor))

    def read(start: int, stop: int) -> Bytes:
        made = views.floats(weight, start, stop) + delta(start, stop)
        if low.magnitude is not None:
            length = np.sqrt(np.square(made, dtype=np.float64).sum(1, keepdims=True)).astype(np.float32)
            made *= views.array(low.magnitude).reshape(-1, 1)[start:stop] / length
        made = np.ascontiguousarray(made, np.float32)
        return made.view(np.uint8) if kind == "F32" else encoded(made, kind)

    return replace(weight, type=kind, row_bytes=views.row_bytes(kind, weight.columns), read=read)


def _delta(low: Low, scale: np.float32) -> Rows:
    """Rows of what is added, as the weight is stored."""
    if low.turned or low.embedding:
        right = _whole(low.b)
        left = _whole(low.a)
        return lambda start, stop: (left().T[start:stop] @ right().T) * scale
    right = _whole(low.a)
    return lambda start, stop: (views.floats(low.b, start, stop) @ right()) * scale


def _whole(tensor: Lazy) -> Callable[[], Floats]:
    """A small matrix that is read once, when it is first wanted."""
    held: list[Floats] = []

    def get() -> Floats:
        if not held:
            held.append(views.array(tensor))
        return held[0]

    return get
