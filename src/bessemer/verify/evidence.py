"""The evidence of one conversion: the documented JSON schema behind every report.

Reports only format what stands here; nothing is computed from it that is not stated in it.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 1

Status = Literal["executed", "emulated", "compiled-only", "declined", "failed"]
"""Only `executed` may say "verified"; `failed` means it ran and departed from the original, or did not run."""


class Record(BaseModel):
    """Base of all records: unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TensorRecord(Record):
    """A border tensor. `shape` holds ints, symbol names or null."""

    name: str
    dtype: str
    shape: list[int | str | None]


class CutRecord(Record):
    """The part of a model that was converted: its borders by the original's names, and how many nodes of how many.

    inputs, outputs: as --inputs and --outputs name them; inside: the inputs that are values inside the original.
    """

    inputs: list[str]
    outputs: list[str]
    inside: list[str] = Field(description="inputs that the original computes: their values were tapped")
    nodes: int
    of: int


class ModelRecord(Record):
    """What a model is: counts are of the whole graph, subgraphs included."""

    path: str
    format: str
    bytes: int
    sha256: str
    inputs: list[TensorRecord]
    outputs: list[TensorRecord]
    operators: dict[str, int]
    nodes: int
    parameters: int
    macs: int | None = Field(description="multiply-accumulates, an unbound batch counted as one; null where unknown")
    weights: dict[str, int] = Field(description="bytes of constants by type")
    activations: int | None = Field(
        description="peak bytes of live activations; null where shapes are unbound"
    )
    details: dict[str, str] = Field(default_factory=dict)
    cut: CutRecord | None = Field(default=None, description="what part of the file this is; null for all of it")


class PassLine(Record):
    """One optimisation that ran."""

    name: str
    options: str
    changed: int
    seconds: float
    declined: list[str] = Field(default_factory=list)


class OutputCloseness(Record):
    """Worst case of one output over all input sets. snr in dB (null: exact or undefined)."""

    name: str
    max_abs: float
    max_rel: float
    snr: float | None
    top1: float | None = Field(default=None, description="share of rows whose arg-max agrees")
    within: bool


class Divergence(Record):
    """The first value, in execution order, that departs by more than the bound."""

    value: str
    layer: str
    op: str
    max_abs: float
    snr: float | None


class Border(Record):
    """How an artifact's border tensor relates to the original's."""

    original: str
    artifact: str
    dtype: str
    perm: list[int] | None = None
    changed: str = Field(default="", description="one sentence when type, name or axis order changed")


class BlockerRecord(Record):
    """One reason why a target declined."""

    node: str
    op: str
    layer: str
    rule: str
    reason: str
    rewrite: str


class Suggestion(Record):
    """A part of the model that the target takes: it was really lowered, though not written or run.

    inputs, outputs: names for --inputs (empty: the model's own) and --outputs.
    """

    inputs: list[str]
    outputs: list[str]
    nodes: int = Field(description="of the original as it was read, constants' own nodes left out")
    of: int
    macs: float | None = Field(description="share of the multiply-accumulates; null where there are none")
    why: str


class Accuracy(Record):
    """Share of right labels on the user's data, original against artifact."""

    samples: int
    original: float
    artifact: float


class TrialRecord(Record):
    """One way to quantize that was tried, and the SNR of its outputs in dB on calibration samples; floats: nodes that
    were left in float for the outputs' sake."""

    method: str
    steps: str
    snr: float
    floats: int = 0


class FloatNode(Record):
    """A node that computes in float in a quantized model, and why."""

    node: str
    reason: str


class Quantization(Record):
    """How integers were chosen, and both baselines in dB over the verification inputs.

    emulation: the original against its encodings acting in float arithmetic (what quantization loses);
    artifact: the original against the artifact; runtime: the emulation against the artifact (what the runtime adds).
    """

    method: str = Field(description="how activation ranges were chosen; of weights alone, how they were rounded")
    level: int | None = Field(default=None, description="optimisation level; null where activations stay float")
    why: str = Field(default="", description="why this level")
    samples: int = 0
    values: int = Field(default=0, description="activations with an encoding")
    weights: int = Field(description="weights in integers")
    trials: list[TrialRecord] = Field(default_factory=list)
    layers: list[str] = Field(default_factory=list, description="precisions of single layers that were asked for")
    floats: list[FloatNode] = Field(default_factory=list)
    float_macs: float | None = Field(default=None, description="share of multiply-accumulates that stay float")
    emulation: float | None = None
    artifact: float | None = None
    runtime: float | None = None


Comparison = Literal["overall", "quantization", "runtime"]
"""overall: the original beside the artifact; quantization: the original beside the artifact's decoded weights in float32;
runtime: those decoded weights beside the artifact in its runtime."""


class LanguageTokens(Record):
    """The original's tokenizer beside the artifact's on a corpus of hard texts; examples: where they differ."""

    original: str = Field(description="what reads the original's tokenizer")
    artifact: str
    texts: int
    differing: int
    normalized: int = Field(
        default=0,
        description="texts that agree once the original's normalizer has tidied them, which the artifact's runtime lacks",
    )
    examples: list[str] = Field(default_factory=list)


class LanguageRun(Record):
    """Two models' predictions of the next token on the same text.

    KL divergences in nats, from the first model's distribution to the second's, mean and largest over all positions;
    spread: what the text tells the first model (the mean divergence of its predictions from their average), beside which a
    divergence is small or large; limit: what the mean divergence may be.
    """

    comparison: Comparison
    context: Literal["short", "long"]
    length: int = Field(description="tokens that are read together")
    tokens: int = Field(description="positions that were compared")
    mean_kld: float | None = Field(description="null where a value is not finite")
    max_kld: float | None
    same_top: float = Field(description="share of positions with the same likeliest token")
    original: float | None = Field(description="perplexity of the first model")
    artifact: float | None = Field(description="perplexity of the second")
    spread: float
    limit: float | None = Field(default=None, description="null for what is stated and not judged")
    within: bool


class LanguageEmbedding(Record):
    """Two encoders' embeddings of the same texts: the lowest cosine of any token, and the largest absolute difference."""

    comparison: Comparison
    tokens: int
    cosine: float | None = Field(description="null where a value is not finite")
    max_abs: float | None
    limit: float | None = Field(default=None, description="what 1 - cosine may be; null for what is not judged")
    within: bool


class LanguageWeights(Record):
    """Tensors of one type, decoded and held beside the original's.

    identical: how many have the same values; snr: of the worst one in dB, null where all are the same; floor: what the
    type must keep.
    """

    type: str
    tensors: int
    identical: int
    worst: str
    snr: float | None
    floor: float
    within: bool


class Language(Record):
    """Proof that an artifact is the same language model."""

    original: str = Field(description="what ran the original")
    artifact: str = Field(description="what ran the artifact")
    decoded: str = Field(default="", description="what ran the artifact's decoded weights, where that was done")
    text: str = Field(description="what was read")
    bound: str = Field(
        description="what was demanded: 'kl(s)' is a mean KL divergence up to the share s of the spread; 'kl(s, r loss)' up "
        "to that beside the decoded weights, or r of the quantization's own loss; 'kl(s, d dB)' up to that and the weights' "
        "noise, d dB louder"
    )
    tokens: LanguageTokens | None = Field(default=None, description="null where a side has no tokenizer")
    runs: list[LanguageRun] = Field(default_factory=list)
    embeddings: list[LanguageEmbedding] = Field(default_factory=list)
    weights: list[LanguageWeights] = Field(default_factory=list)
    problems: list[str] = Field(default_factory=list, description="what is wrong beside figures")
    notes: list[str] = Field(default_factory=list)
    within: bool


class Distribution(Record):
    """How values lie between the lowest and the highest: shares of all of them in bins of equal width."""

    low: float
    high: float
    shares: list[float]


class LayerNoise(Record):
    """What one product costs, as signal-to-noise ratios in dB.

    alone: at the model's outputs with only this layer in integers; cumulative: at the layer with everything in
    integers; weight: of its weight; saturated: share of its output's calibration values beyond the range; weights,
    outputs: how they are distributed (null where all are alike, or were not observed).
    """

    layer: str
    op: str
    macs: int | None
    alone: float
    cumulative: float
    weight: float
    saturated: float
    weights: Distribution | None = None
    outputs: Distribution | None = None


class Remedy(Record):
    """Something tried at one layer, and what the outputs gained in dB, ranges and rounding as plain as can be."""

    layer: str
    action: str
    gain: float
    layers: list[str] = Field(description="how --layer asks for it")


class Mend(Record):
    """The remedies that gain together: as --layer asks for them, and their gain in dB; snr: of the outputs with them and
    everything else that the level does, where that was tried."""

    layers: list[str]
    gain: float
    snr: float | None = None


class Analysis(Record):
    """What quantization costs layer by layer, and what would mend it."""

    schema_version: int = SCHEMA_VERSION
    path: str
    precision: str
    method: str
    level: int
    samples: int
    snr: float = Field(description="of the outputs with everything in integers, dB")
    layers: list[LayerNoise]
    remedies: list[Remedy] = Field(description="largest gain first")
    mend: Mend | None = None
    recipe: str = Field(default="", description="a recipe of all this, for convert --recipe")
    notes: list[str] = Field(default_factory=list)


class SearchLine(Record):
    """The best mix of precisions that was found for one budget.

    share: what it costs relative to all layers in int8; predicted, measured: signal-to-noise ratio of the outputs in dB,
    by adding up the noise of every source and by quantizing with it; layers: how many have which precision.
    """

    budget: float
    share: float
    predicted: float
    measured: float
    layers: dict[str, int]


class SearchLayer(Record):
    """One layer: the outputs' ratio in dB with only it in each precision that it may have, and the one chosen."""

    layer: str
    macs: int
    bytes: int = Field(description="of its weights in 8 bits")
    alone: dict[str, float]
    chosen: str


class Search(Record):
    """A search for mixed precision."""

    schema_version: int = SCHEMA_VERSION
    path: str
    metric: str
    budget: float
    optimizer: str
    samples: int
    plain: float = Field(description="of the outputs with every layer in int8, dB")
    best: SearchLine
    table: list[SearchLine]
    layers: list[SearchLayer]
    recipe: str = Field(description="a recipe of the best, for convert --recipe")
    notes: list[str] = Field(default_factory=list)


class FileRecord(Record):
    """A file that was written; `path` is relative to the output directory."""

    path: str
    bytes: int
    sha256: str


class TargetEvidence(Record):
    """One row of the report: one target, one precision."""

    target: str
    precision: str
    options: dict[str, str]
    status: Status
    verified: bool
    summary: str = Field(description="one sentence a reader can act on")
    runtime: str = ""
    reference: str = Field(default="", description="runtime that executed the original")
    bound: str = Field(default="", description="named closeness that was demanded, e.g. close(1e-4, 1e-4)")
    input_sets: list[str] = Field(default_factory=list, description="one line per set that was run")
    outputs: list[OutputCloseness] = Field(default_factory=list)
    accuracy: Accuracy | None = None
    quantization: Quantization | None = None
    language: Language | None = None
    divergence: Divergence | None = None
    blockers: list[BlockerRecord] = Field(default_factory=list)
    suggestions: list[Suggestion] = Field(default_factory=list, description="where a declined model can be cut")
    borders: list[Border] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    files: list[FileRecord] = Field(default_factory=list)
    operators: dict[str, int] = Field(default_factory=dict, description="operator counts of the artifact")
    tensors: dict[str, int] = Field(default_factory=dict, description="types of stored weights -> how many tensors")
    seconds: dict[str, float] = Field(default_factory=dict, description="prepare, write, verify")
    latency: dict[str, float] = Field(
        default_factory=dict, description="median ms per run: original, artifact"
    )


class Manifest(Record):
    """What would reproduce the artifacts byte for byte."""

    bessemer: str
    command: list[str]
    inputs: list[FileRecord]
    options: dict[str, str]
    versions: dict[str, str]


class Evidence(Record):
    """The whole report of one conversion."""

    schema_version: int = SCHEMA_VERSION
    source: ModelRecord
    passes: list[PassLine]
    optimized: dict[str, int] = Field(description="operator counts of the canonical graph after the passes")
    targets: list[TargetEvidence]
    seconds: float
    peak_bytes: int
    manifest: Manifest

    @property
    def exit_code(self) -> int:
        """0 all verified; 4 a verification failed; 3 something was declined or only compiled."""
        if any(row.status == "failed" for row in self.targets):
            return 4
        return 0 if all(row.verified for row in self.targets) else 3
