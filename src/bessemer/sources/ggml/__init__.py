"""ggml's files before GGUF: a Llama in Hugging Face's form, an RWKV by rwkv.cpp's names."""

from __future__ import annotations

from pathlib import Path

from bessemer.ir.checkpoint import Checkpoint, Lazy
from bessemer.ir.errors import Declined, UnreadableInput
from bessemer.ir.model import Origin
from bessemer.sources.base import OpenOptions
from bessemer.sources.ggml.blocks import lazy
from bessemer.sources.llama2c.names import Facts, translated
from bessemer.sources.llama2c.vocabulary import tokenizer
from bessemer.sources.weight_files import WeightFiles
from bessemer.weights.files import FileBytes
from bessemer.wire.errors import WireError
from bessemer.wire.ggml import File, Llama, Rwkv, read

CONTEXT, GROUPED_CONTEXT = 2048, 4096
"""Llama 1 was trained for the first; files with fewer heads of keys are Llama 2."""
EPS, GROUPED_EPS = 1e-6, 1e-5


def checkpoint(path: Path, options: OpenOptions) -> Checkpoint:
    """The file. Raises UnreadableInput for a broken or hostile one, Declined for tensors that no Llama has."""
    try:
        held = read(path)
    except WireError as error:
        raise UnreadableInput(f"{path} is a broken or hostile GGML file, or another program's", why=str(error)) from None
    file = FileBytes(path)
    tensors = {name: lazy(file, info) for name, info in held.tensors.items()}
    details = {"format": held.format, "version": held.version, **held.sizes.__dict__}
    origin = Origin("ggml", path, details)
    if not isinstance(held.sizes, Llama):
        return _rwkv(held.sizes, tensors, origin)
    return _llama(held, held.sizes, tensors, origin)


def _rwkv(sizes: Rwkv, tensors: dict[str, Lazy], origin: Origin) -> Checkpoint:
    """Version 4 in Hugging Face's form, others, which transformers does not have, by rwkv.cpp's names."""
    from bessemer.architectures.base import find_gguf

    key = tensors.get("blocks.0.ffn.key.weight")
    facts = {
        "block_count": sizes.layers, "embedding_length": sizes.dim, "vocab_size": sizes.vocab,
        "feed_forward_length": key.shape[0] if key is not None and key.shape else 4 * sizes.dim,
    }  # fmt: skip
    metadata = {"general.architecture": "rwkv4", **{f"rwkv4.{name}": value for name, value in facts.items()}}
    try:
        config, moved = find_gguf(metadata).from_gguf(metadata, tensors)
    except Declined:
        return Checkpoint(tensors, {}, None, origin, notes=["Names are rwkv.cpp's; no other format has its settings"])
    return Checkpoint(moved, config, None, origin, notes=["The file holds no tokenizer"])


def _llama(held: File, sizes: Llama, tensors: dict[str, Lazy], origin: Origin) -> Checkpoint:
    words = tokenizer(held.tokens) if held.tokens else None
    if not tensors:
        return Checkpoint({}, {}, words, origin, notes=["It holds a vocabulary and no weights"])
    facts = _facts(sizes, tensors, origin.path)
    config, moved = translated(facts, tensors)
    said = f"context length {facts.context}, rotation base {facts.theta:g} and norms' epsilon {facts.eps:g}"
    return Checkpoint(
        moved, config, words, origin,
        notes=[f"The file does not say {said}: these are Llama {1 if facts.context == CONTEXT else 2}'s"],
    )  # fmt: skip


def _facts(sizes: Llama, tensors: dict[str, Lazy], path: Path) -> Facts:
    """Sizes that the file says, and those that follow from its tensors."""
    wanted = ("layers.0.feed_forward.w1.weight", "layers.0.attention.wk.weight")
    if any(name not in tensors for name in wanted) or not sizes.heads or sizes.dim % sizes.heads:
        why = "other models have the same header"
        raise UnreadableInput(f"{path} does not hold a Llama", why=why, where=next(iter(tensors)))
    head = sizes.dim // sizes.heads
    hidden, keys = (tensors[name].shape[0] for name in wanted)
    grouped = keys // head != sizes.heads
    return Facts(
        sizes.dim, hidden, sizes.layers, sizes.heads, max(keys // head, 1), sizes.vocab,
        GROUPED_CONTEXT if grouped else CONTEXT, GROUPED_EPS if grouped else EPS,
    )  # fmt: skip


SOURCE = WeightFiles("ggml", checkpoint)
