"""The quantize stage for targets in integers: once per scheme and set of exceptions, shared by their rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bessemer.ir.encoding import encoding_of
from bessemer.ir.errors import UsageError
from bessemer.ir.model import Model
from bessemer.quantize.scheme import SCHEMES
from bessemer.verify import evidence as ev

if TYPE_CHECKING:
    from bessemer.quantize.data import Samples
    from bessemer.quantize.stage import Quantized
    from bessemer.request import ConvertOptions, Progress


@dataclass(frozen=True)
class Source:
    """What a target lowers: the float model, or a quantized copy with what was done."""

    model: Model
    quantized: Quantized | None = None


class Integers:
    """Quantized copies of one float model."""

    def __init__(self, model: Model, options: ConvertOptions, watch: Progress) -> None:
        self.model, self.options, self.watch = model, options, watch
        self._made: dict[tuple[str, tuple[str, ...]], Source] = {}
        self._samples: Samples | None = None

    def wants(self, validated: Any) -> bool:
        """Whether a target's options ask for integers."""
        return getattr(validated, "precision", "") in SCHEMES

    def of(self, validated: Any) -> Source:
        """The model for a target with these options. Raises UsageError where it cannot be quantized."""
        if getattr(validated, "precision", "") == "int8-dynamic":
            return Source(self._hybrid(tuple(validated.keep)))
        if not self.wants(validated):
            return Source(self.model)
        key = (validated.precision, tuple(validated.keep))
        if key not in self._made:
            self.watch.stage("quantize")
            self._made[key] = self._quantize(*key)
        return self._made[key]

    def _hybrid(self, keep: tuple[str, ...]) -> Model:
        """A copy with integer weights beside float activations: needs no data."""
        from bessemer.quantize.hybrid import make_hybrid
        from bessemer.quantize.stage import clone

        made = clone(self.model)
        made.notes.extend(make_hybrid(made, keep).notes)
        return made

    def _quantize(self, precision: str, keep: tuple[str, ...]) -> Source:
        from bessemer.passes.qdq import KERNELS_KEY
        from bessemer.quantize.stage import Quantize, quantize

        _refuse_quantized(self.model)
        asked = self.options.calibration
        how = Quantize(precision, asked.ranges, level=asked.level, keep=keep, seed=self.options.seed)
        samples = self.samples
        made, done = quantize(self.model, how, samples)
        made.graph.metadata_props[KERNELS_KEY] = "integer"
        done.notes += samples.notes
        return Source(made, done)

    @property
    def samples(self) -> Samples:
        """The calibration data. Raises UsageError where none was given."""
        from bessemer.quantize.data import calibration_samples

        if self._samples is None:
            asked = self.options.calibration
            path = asked.path or self.options.data
            if path is None:
                raise UsageError(
                    "Integer precisions are calibrated on data, and none was given",
                    fix="Give real inputs with --calibration PATH (or --data, which is verified on as well)",
                )
            limit = asked.samples or (0 if asked.path is not None else self.options.samples)
            self._samples = calibration_samples(path, self.model.signature, self.options.preprocess, limit)
        return self._samples


def _refuse_quantized(model: Model) -> None:
    held = next((value for node in model.graph.graph for value in node.outputs if encoding_of(value)), None)
    if held is not None:
        raise UsageError(
            f"{model.origin.path.name} is quantized already ('{held.name}' has an encoding)",
            fix="Leave the precision out: its integers are kept as they are",
        )


def quantization_record(done: Quantized) -> ev.Quantization:
    """For the evidence, before anything ran."""
    return ev.Quantization(
        method=done.method,
        level=done.level,
        why=done.why,
        samples=done.samples,
        values=done.values,
        weights=done.weights,
        trials=[ev.TrialRecord(method=t.method, steps=t.steps, snr=t.snr) for t in done.trials],
        floats=[ev.FloatNode(node=node, reason=reason) for node, reason in done.floats],
        float_macs=done.float_macs,
    )
