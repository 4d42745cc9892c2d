"""The quantize stage for targets in integers: once per scheme and set of exceptions, shared by their rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bessemer.ir.encoding import encoding_of
from bessemer.ir.errors import UsageError
from bessemer.ir.model import Model
from bessemer.quantize.scheme import SCHEMES, WEIGHTS
from bessemer.verify import evidence as ev

if TYPE_CHECKING:
    from bessemer.quantize.algorithms.mixed_precision import Asked, Found
    from bessemer.quantize.data import Samples
    from bessemer.quantize.levels import Quantize
    from bessemer.quantize.precision import LayerPrecision
    from bessemer.quantize.stage import Quantized
    from bessemer.request import ConvertOptions, Progress


@dataclass(frozen=True)
class Source:
    """What a target lowers: the float model, or a quantized copy with what was done.

    emulates: whether there is an emulation of what the artifact computes; by_row: of activations that are quantized row by
    row as the model runs, as TFLite's hybrid kernels do.
    """

    model: Model
    record: ev.Quantization | None = None
    notes: tuple[str, ...] = ()
    emulates: bool = False
    by_row: bool = False


class Integers:
    """Quantized copies of one float model."""

    def __init__(self, model: Model, options: ConvertOptions, watch: Progress) -> None:
        self.model, self.options, self.watch = model, options, watch
        self._static: dict[tuple[str, tuple[str, ...]], Source] = {}
        self._samples: Samples | None = None
        self.saved = model.past.quantized if model.past is not None else None
        """What an archive says that was quantized already."""

    def wants(self, validated: Any) -> bool:
        """Whether a target's options ask for integers (or float8)."""
        return getattr(validated, "precision", "") in (*SCHEMES, *WEIGHTS)

    def check(self, every: Iterable[Any]) -> None:
        """Raise UsageError where a target is to be calibrated and there is no data for it, too little, or such as cannot
        be meant: before any other row is written."""
        from bessemer.quantize.levels import check_enough

        if self.saved is not None:
            return
        asked = [validated for validated in every if getattr(validated, "precision", "") in SCHEMES]
        for validated in asked:
            _refuse_quantized(self.model)
            check_enough(self._how(validated.precision, tuple(validated.keep)), len(self.samples))

    def needs_no_data(self, validated: Any) -> bool:
        """Whether only weights become integers: a target can then be asked about the real thing without data."""
        return getattr(validated, "precision", "") in WEIGHTS

    def of(self, validated: Any) -> Source:
        """The model for a target with these options. Raises UsageError where it cannot be quantized."""
        if self.saved is not None:
            record = ev.Quantization.model_validate_json(self.saved.record)
            return Source(self.model, record, tuple(self.saved.notes), emulates=True)
        if not self.wants(validated):
            return Source(self.model)
        _refuse_quantized(self.model)
        if validated.precision in WEIGHTS:
            return self._weights(validated) if hasattr(validated, "algorithm") else self._hybrid(validated)
        key = (validated.precision, tuple(validated.keep))
        if key not in self._static:
            self._static[key] = self._calibrated(*key)
        return self._static[key]

    def _calibrated(self, precision: str, keep: tuple[str, ...]) -> Source:
        """Weights and activations, once per scheme and set of exceptions."""
        from bessemer.passes.qdq import KERNELS_KEY
        from bessemer.quantize.stage import quantize

        how, samples = self._how(precision, keep), self.samples
        self.watch.stage("quantize")
        made, done = quantize(self.model, how, samples)
        made.graph.metadata_props[KERNELS_KEY] = "integer"
        return Source(made, quantization_record(done), (*done.notes, *samples.notes), emulates=True)

    def _how(self, precision: str, keep: tuple[str, ...]) -> Quantize:
        """The recipe's options, under those that the target and the command line state."""
        from bessemer.script.recipe import asked

        return asked(self.options.recipe, self._changes(precision, keep))

    def _changes(self, precision: str, keep: tuple[str, ...]) -> dict[str, Any]:
        options = self.options
        given = {"keep": keep} if keep else {}
        seed = {"seed": options.seed} if options.seed else {}
        return {"precision": precision, **options.calibration.stated, **given, **seed}

    def _weights(self, validated: Any) -> Source:
        """Weights in blocks, dynamic int8, float8: what an ONNX graph can say."""
        from bessemer.quantize.weights import quantize_weights

        given = self.options.calibration.path or self.options.data
        samples = self.samples if given is not None else None
        self.watch.stage("quantize")
        made, done = quantize_weights(self.model, validated, samples)
        record = ev.Quantization(
            method=done.algorithm,
            samples=len(samples or ()),
            weights=len(done.layers),
            floats=[ev.FloatNode(node=node, reason=reason) for node, reason in done.floats],
        )
        return Source(made, record, tuple(done.notes), emulates=True)

    def _hybrid(self, validated: Any) -> Source:
        """Integer weights whose kernels quantize activations as they run: TFLite's dynamic range."""
        from bessemer.quantize.hybrid import make_hybrid
        from bessemer.quantize.judge import clone

        self.watch.stage("quantize")
        made = clone(self.model)
        done = make_hybrid(made, validated.keep)
        floats = [ev.FloatNode(node=node, reason=reason) for node, reason in done.floats]
        record = ev.Quantization(method="rtn", weights=done.weights, floats=floats)
        return Source(made, record, emulates=True, by_row=True)

    def analysis(self, precision: str, keep: tuple[str, ...], *, prove: bool = False) -> ev.Analysis:
        """What each layer costs at a static precision; prove: quantize once more with the remedies that gained.

        Raises UsageError where the model cannot be quantized.
        """
        from bessemer.quantize.analysis import analyze
        from bessemer.quantize.levels import check_enough
        from bessemer.quantize.precision import parsed
        from bessemer.quantize.stage import quantize

        _refuse_quantized(self.model)
        how, samples = self._how(precision, keep), self.samples
        check_enough(how, len(samples))
        found = analyze(self.model, how, samples, self.watch.stage)
        layers = (*found.overrides, *parsed(found.mend.layers if found.mend is not None else ()))
        if prove and found.mend is not None:
            self.watch.stage("quantize")
            snr = quantize(self.model, replace(how, layers=layers, compression=0), samples)[1].snr
            found.mend = found.mend.model_copy(update={"snr": snr})
        return ev.Analysis(
            path=str(self.model.origin.path),
            precision=precision,
            method=found.method,
            level=found.level,
            samples=found.samples,
            snr=found.snr,
            layers=found.layers,
            remedies=found.remedies,
            mend=found.mend,
            recipe=self._recipe(precision, keep, layers, _said(found.snr, found.mend)),
            notes=samples.notes,
        )

    def search(self, precision: str, keep: tuple[str, ...], asked: Asked) -> ev.Search:
        """Precisions of single layers under a budget. Raises UsageError where nothing fits."""
        from bessemer.quantize.algorithms.mixed_precision import prepared, search

        _refuse_quantized(self.model)
        how, samples = self._how(precision, keep), self.samples
        self.watch.stage("quantize")
        replan = prepared(self.model, how, samples)
        self.watch.stage("search")
        found = search(replan, asked)
        table, best = [_search_line(item) for item in found.table], _search_line(found.best)
        said = [f"mixed precision by {asked.metric}: {best.share:.2f} of int8, outputs at {best.measured:.1f} dB"]
        return ev.Search(
            path=str(self.model.origin.path),
            metric=asked.metric,
            budget=asked.budget,
            optimizer=asked.optimizer,
            samples=len(samples),
            plain=replan.snr(),
            best=best,
            table=table,
            layers=[
                ev.SearchLayer(
                    layer=layer.unit.name,
                    macs=layer.macs,
                    bytes=layer.unit.bytes,
                    alone={name: found.alone(place, name) for name in layer.options},
                    chosen=found.best.choice[place],
                )
                for place, layer in enumerate(found.problem.layers)
            ],
            recipe=self._recipe(precision, keep, (*how.layers, *found.overrides()), said),
            notes=samples.notes,
        )

    def _recipe(
        self, precision: str, keep: tuple[str, ...], layers: tuple[LayerPrecision, ...], said: list[str]
    ) -> str:
        """What was asked for, with these overrides; compression is spelled out in them."""
        from bessemer.script.recipe import stated, write

        fields = stated(self.options.recipe, self._changes(precision, keep)) | {"layers": layers}
        fields.pop("compression", None)
        return write(fields, [f"bessemer analyze {self.model.origin.path.name}", *said])

    @property
    def samples(self) -> Samples:
        """The calibration data. Raises UsageError where none was given."""
        from bessemer.quantize.checks import check_data
        from bessemer.quantize.data import calibration_samples

        if self._samples is None:
            asked, path = self.options.calibration, _path(self.options)
            limit = asked.samples or (0 if asked.path is not None else self.options.samples)
            self._samples = self._tapped(path, limit) or calibration_samples(
                path, self.model.signature, self.options.preprocess, limit
            )
            self._samples.notes += check_data(self.model, self._samples)
        return self._samples

    def _tapped(self, path: Path, limit: int) -> Samples | None:
        """Of a part that begins inside a model: what the whole original computes there on the user's data."""
        from bessemer.opening import original_of
        from bessemer.quantize.data import Samples, calibration_samples
        from bessemer.runners.isolated import IsolatedRunner
        from bessemer.verify.parts import Parts

        cut = self.model.cut
        if cut is None or not cut.moved:
            return None
        whole = calibration_samples(path, cut.whole.signature, self.options.preprocess, limit)
        parts = Parts(cut.taps)
        self.watch.stage("tap")
        with IsolatedRunner(*original_of(self.model.origin.path, self.options.opening, self.model)) as original:
            sets = tuple(parts.of(item, original.run(item.arrays)) for item in whole.sets)
        return Samples(sets, [*whole.notes, "calibrated on what the original computes at the cut's inputs"])


def _said(snr: float, mend: ev.Mend | None) -> list[str]:
    """What an analysis measured, for the top of its recipe."""
    said = [f"outputs at {snr:.1f} dB"]
    said += ["no remedy that was tried helps"] if mend is None else [f"remedies that gain {mend.gain:.1f} dB together"]
    return said + ([f"with them: {mend.snr:.1f} dB"] if mend is not None and mend.snr is not None else [])


def _search_line(found: Found) -> ev.SearchLine:
    return ev.SearchLine(
        budget=found.budget,
        share=found.share,
        predicted=found.predicted,
        measured=found.measured,
        layers=dict(sorted(Counter(found.choice).items())),
    )


def _path(options: ConvertOptions) -> Path:
    """Where the calibration data is. Raises UsageError where none was given."""
    path = options.calibration.path or options.data
    if path is None:
        raise UsageError(
            "Integer precisions are calibrated on data, and none was given",
            fix="Give real inputs with --calibration PATH (or --data, which is verified on as well)",
        )
    return path


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
        layers=done.layers,
        trials=[ev.TrialRecord(method=t.method, steps=t.steps, snr=t.snr, floats=t.floats) for t in done.trials],
        floats=[ev.FloatNode(node=node, reason=reason) for node, reason in done.floats],
        float_macs=done.float_macs,
    )
