"""Names, types and sizes at the border of a causal decoder: those that Optimum and ONNX Runtime GenAI use."""

from __future__ import annotations

from bessemer.ir.decoder import Decoder
from bessemer.ir.signature import Signature, TensorSpec

BATCH, TOKENS, PAST = "batch_size", "sequence_length", "past_sequence_length"
WHOLE = f"{PAST} + {TOKENS}"


def key_sizes(decoder: Decoder) -> tuple[int, int, int]:
    """Heads of keys and values, columns of a key and of a value."""
    latent = decoder.latent
    if latent is None:
        return decoder.kv_heads, decoder.head_dim, decoder.head_dim
    return decoder.heads, latent.nope_dim + latent.rope_dim, latent.value_dim


def cache_sizes(decoder: Decoder) -> tuple[int, int, int]:
    """Heads and the two sizes of what is kept for each token and layer: keys and values, or with `latent`, as transformers
    does it, what they are made from and the part of a key that turned."""
    latent = decoder.latent
    return key_sizes(decoder) if latent is None else (1, latent.key_rank, latent.rope_dim)


def border(decoder: Decoder, *, past: bool) -> Signature:
    """What goes in and comes out; past: with keys and values of earlier tokens. position_ids stand there where positions
    are looked up or turn queries; ALiBi counts by itself."""
    whole = WHOLE if past else TOKENS
    inputs = [TensorSpec("input_ids", "int64", (BATCH, TOKENS)), TensorSpec("attention_mask", "int64", (BATCH, whole))]
    if decoder.positions in ("rope", "learned"):
        inputs.append(TensorSpec("position_ids", "int64", (BATCH, TOKENS)))
    outputs = [TensorSpec("logits", "float32", (BATCH, TOKENS, decoder.vocabulary))]
    if past:
        inputs += _kept(decoder, "past_key_values", PAST)
        outputs += _kept(decoder, "present", WHOLE)
    return Signature(tuple(inputs), tuple(outputs))


def _kept(decoder: Decoder, name: str, tokens: str) -> list[TensorSpec]:
    heads, *sizes = cache_sizes(decoder)
    return [
        TensorSpec(f"{name}.{place}.{part}", "float32", (BATCH, heads, tokens, size))
        for place in range(len(decoder.layers))
        for part, size in zip(("key", "value"), sizes, strict=True)
    ]
