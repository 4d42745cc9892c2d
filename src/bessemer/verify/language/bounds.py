"""What a proof demands, as data.

Divergences are judged beside the spread: what the text tells the model at all, in nats (`tally.Tally.spread`). Noise of
relative size r in the logits costs about r^2 of the spread, whatever the model and its vocabulary; a model that reads
another tensor, order or setting than it should loses a large share of it.

- Weights: the signal-to-noise ratio of each decoded tensor against the original's, which no model can amplify. The floor
  of a type is what ggml's own encoder keeps of Student-t weights with 3 degrees of freedom (more outliers than trained
  weights have), less 3 dB; of a tensor in a wrong order or place it keeps about -3 dB. An importance matrix buys accuracy
  where it matters with some elsewhere.
- Runtime: the artifact in its runtime beside its own decoded weights in float32. What remains is how the runtime rounds
  activations: not at all (a trained model's divergence beside transformers is 1e-12 of the spread), to F16, BF16, or 8-bit
  blocks (llama.cpp's kernels). Measured on a trained model (stories260K) and on random ones that amplify noise: at most 4e-6
  of the spread for F16, 2.4e-4 for BF16, 6e-3 for 8 bits. Random weights so large that the amplification is 100 times more
  cost 6e-2 that way; but then the weights' own rounding costs more: as much for F16, BF16 and Q8_0 (up to 0.5 of it was
  measured), 5 times as much for 6 bits, 10 to 50 times for fewer. So: the figure below, or `added`'s share of what the
  quantization itself costs.
- Overall: divergences add like squared distances: (a + b)^2 <= 2 a^2 + 2 b^2. So both parts above, twice; in the long
  context, where the quantization's own loss was not measured, twice its share in the short one. Where the decoded weights
  cannot be run by themselves, the noise of the weights may grow by 16 dB on its way to the logits.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from bessemer.verify.language.subjects import Arithmetic

SHARES: Mapping[Arithmetic, float] = {"F32": 1e-7, "F16": 1e-4, "BF16": 1e-3, "Q8": 5e-3}
"""Of the spread, which the runtime's arithmetic may cost (also: 1 - cosine of embeddings)."""
LEAST = 1e-9
"""Nats below which two float32 computations are the same."""
DECIBELS = 16.0
"""By which the weights' noise may grow on its way to the logits."""
ROUNDED: Mapping[str, float] = {"F16": 60.0}
"""dB that such weights usually keep, where their floor allows for unusual ones."""
WHOLE = 3.0
"""Shares of the spread beyond which nothing is left to bound."""

FLOORS: Mapping[str, float] = {
    "F64": 140, "F32": 140, "F16": 40, "BF16": 50, "Q8_0": 38, "Q8_1": 38, "Q8_K": 38, "Q6_K": 28, "Q5_K": 23, "Q5_1": 23,
    "Q5_0": 20, "Q4_K": 17, "Q4_1": 16, "Q4_0": 14, "IQ4_XS": 16, "IQ4_NL": 16, "MXFP4": 14, "NVFP4": 14, "Q3_K": 11,
    "IQ3_S": 11, "IQ3_XXS": 9, "Q2_K": 6, "IQ2_S": 5, "IQ2_XS": 4, "IQ2_XXS": 2, "Q2_0": 2, "IQ1_M": 2, "IQ1_S": 1,
    "TQ1_0": 0.5, "TQ2_0": 0.5, "Q1_0": 0.5,
}  # fmt: skip
"""dB that a tensor of a type must keep. F16 has few bits for weights below 6e-5."""
IMPORTANCE = 4.0
"""dB less with an importance matrix."""
ADDED = ((36.0, 1.0), (26.0, 0.5), (-1.0, 0.1))
"""Floor of the coarsest type from which on a runtime may add which share of the quantization's loss."""


def floor(kind: str, importance: bool = False) -> float:
    """dB that a tensor of this type must keep; integers must be the same."""
    held = FLOORS.get(kind, 140.0)
    return max(held - IMPORTANCE, 0.2) if importance and held < FLOORS["F16"] else held


def coarsest(*kinds: Arithmetic) -> Arithmetic:
    """Of both sides."""
    return max(kinds, key=lambda kind: SHARES[kind])


def added(types: Collection[str]) -> float:
    """Share of the quantization's own loss that a runtime may add, by the coarsest type."""
    least = min((FLOORS.get(name, 140.0) for name in types), default=140.0)
    return next(share for decibels, share in ADDED if least >= decibels)


def runtime(kind: Arithmetic, spread: float, loss: float = 0.0) -> float:
    """Mean divergence that arithmetic may cause. loss: `added`'s share of what the quantization costs, in nats."""
    return max(SHARES[kind] * spread, loss, LEAST)


def explained(kind: Arithmetic, spread: float, loss: float, types: Collection[str]) -> float:
    """Mean divergence overall, where the decoded weights were run by themselves and cost `loss` nats."""
    return 2 * loss + 2 * runtime(kind, spread, added(types) * loss)


def unexplained(kind: Arithmetic, spread: float, types: Collection[str], importance: bool = False) -> float:
    """Mean divergence overall, where they cannot be."""
    kept = min((ROUNDED.get(name, floor(name, importance)) for name in types), default=140.0)
    noise = 10 ** ((DECIBELS - kept) / 10)
    return max(min(WHOLE, SHARES[kind] + noise) * spread, LEAST)
