"""Options that several commands share, and how they become the pipeline's."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from bessemer.request import ConvertOptions, TargetRequest
    from bessemer.verify.preprocess import Preprocess

ModelPath = Annotated[
    Path, typer.Argument(metavar="MODEL", help="Model file; its format is found by content.")
]
To = Annotated[
    list[str],
    typer.Option(
        "--to",
        metavar="TARGET",
        help="Target, repeatable: onnx, onnx:fp16, onnx:opset=12,precision=float16, tflite:float16,io=nhwc.",
    ),
]
Shapes = Annotated[
    list[str] | None,
    typer.Option(
        "--shape",
        metavar="NAME=DIMS",
        help="Bind an input's shape, repeatable: input=1x3x224x224; a range 1..8x3x224x224; "
        "a name Nx3x224x224.",
    ),
]
SignatureName = Annotated[
    str | None,
    typer.Option("--signature", metavar="NAME", help="Which signature of a file that holds several."),
]
OriginalIn = Annotated[
    Literal["auto", "runtime", "reference"],
    typer.Option(
        "--original",
        help="What runs the original: its own runtime, the reference evaluator of its format, or the first of the two "
        "that is there.",
    ),
]
Factory = Annotated[
    str | None,
    typer.Option(
        "--factory",
        metavar="FILE.py:FUNCTION",
        help="Builds the torch module whose weights a state dict holds; it runs as your code.",
    ),
]
Task = Annotated[
    str | None,
    typer.Option("--task", metavar="NAME", help="What a Hugging Face model is exported for; text-generation, for instance."),
]
Graph = Annotated[
    Literal["auto", "table", "torch"],
    typer.Option(
        "--graph",
        help="How a language model's weights become a graph: drawn from the table of its architecture, traced by torch, or "
        "drawn where there is a table.",
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Settings of a language model whose weights are recognised in a graph: a config.json, or some of its keys.",
    ),
]
CutInputs = Annotated[
    list[str] | None,
    typer.Option(
        "--inputs",
        metavar="NAMES",
        help="Cut the model: it begins at these values (comma separated or repeated; tensors, nodes or layers by name).",
    ),
]
CutOutputs = Annotated[
    list[str] | None,
    typer.Option(
        "--outputs",
        metavar="NAMES",
        help="Cut the model: it ends at these values; `check` suggests where. Verified on what the whole original "
        "computes there.",
    ),
]
Adapters = Annotated[
    list[str] | None,
    typer.Option(
        "--adapter",
        metavar="PATH[=FACTOR]",
        help="Merge a LoRA adapter (PEFT, GGUF) into the weights, repeatable; FACTOR scales it further.",
    ),
]
Base = Annotated[
    Path | None,
    typer.Option("--base", metavar="MODEL", help="The model that an adapter is for, where the adapter itself is converted."),
]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="PATH",
        help="Inputs to verify on: .npy, .npz, idx, an image, a folder of them, or of one folder per class; .jsonl of "
        "token lists; module:function or file.py:function that yields feeds.",
    ),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        metavar="PATH",
        help="Right classes: .csv of file,class; .txt, .npy, .npz, idx in the order of the samples. Accuracy is "
        "compared too. Without: labels.csv in the folder, or the names of its folders.",
    ),
]
LabelOffset = Annotated[
    int,
    typer.Option(
        "--label-offset", metavar="N", help="Added to each label: 1 for models whose class 0 is the background."
    ),
]
PreprocessText = Annotated[
    str | None,
    typer.Option(
        "--preprocess",
        metavar="SPEC",
        help="Images to tensors: torch | tf | caffe | raw, resize=256 (short side) or 224x320, crop=224, "
        "mean=0.5 or 0.5:0.5:0.5, std=, scale=255, order=rgb|bgr|gray, layout=nchw|nhwc, filter=bicubic; "
        "for instance torch,resize=256,crop=224.",
    ),
]
CalibrationData = Annotated[
    Path | None,
    typer.Option(
        "--calibration",
        metavar="PATH",
        help="Data that integer ranges are chosen from, of the same kinds as --data (default: --data itself).",
    ),
]
CalibrationSamples = Annotated[
    int,
    typer.Option("--calibration-samples", min=0, metavar="N", help="Use at most N calibration samples (0: all)."),
]
RangesMethod = Annotated[
    str | None,
    typer.Option(
        "--ranges",
        metavar="METHOD",
        help="How ranges are chosen: auto | minmax | average | percentile | entropy | mse. auto (the default) tries "
        "some and keeps the one whose outputs stay nearest.",
    ),
]
QuantLevel = Annotated[
    int | None,
    typer.Option(
        "--quant-level",
        metavar="N",
        help="-100 ranges only, 0 equalization, 1 and bias correction, 3 and AdaRound on 256 samples, 4 on 1,024 "
        "(default: the highest that the data allows).",
    ),
]
LayerPrecisions = Annotated[
    list[str] | None,
    typer.Option(
        "--layer",
        metavar="GLOB=PRECISION",
        help="Precision of single nodes, layers or operators, repeatable, the last wins: stem/*=a16_w8, Conv=w4, "
        "head=float.",
    ),
]
Compression = Annotated[
    int | None,
    typer.Option(
        "--compression",
        metavar="N",
        help="0 to 5: so many fifths of the weights' bytes in 4 bits, where that hurts least.",
    ),
]
RecipeFile = Annotated[
    Path | None,
    typer.Option("--recipe", metavar="FILE", help="Options of the quantization as TOML; what stands here wins."),
]
Samples = Annotated[
    int, typer.Option("--samples", min=0, metavar="N", help="Use at most N samples of --data (0: all).")
]
Seed = Annotated[int | None, typer.Option("--seed", min=0, metavar="N", help="Seed of generated inputs.")]
Bound = Annotated[
    str | None,
    typer.Option(
        "--bound",
        metavar="CLOSENESS",
        help="Demand this closeness: exact, ulp(1), close(1e-3, 1e-3), snr(40), top1(0.99), steps(1), "
        "or several joined by ' or '.",
    ),
]
Level = Annotated[
    int, typer.Option("--level", min=0, max=3, metavar="N", help="Optimisation level of the passes.")
]
KeepFailed = Annotated[
    bool, typer.Option("--keep-failed", help="Keep artifacts that failed verification, as NAME.failed.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


@dataclass(frozen=True)
class Asked:
    """Shared options as typed by the user."""

    shape: Sequence[str] | None = None
    signature: str | None = None
    original: Literal["auto", "runtime", "reference"] = "auto"
    factory: str | None = None
    task: str | None = None
    graph: Literal["auto", "table", "torch"] = "auto"
    inputs: Sequence[str] | None = None
    outputs: Sequence[str] | None = None
    adapter: Sequence[str] | None = None
    base: Path | None = None
    config: Path | None = None
    data: Path | None = None
    labels: Path | None = None
    label_offset: int = 0
    preprocess: str | None = None
    samples: int = 0
    seed: int | None = None
    bound: str | None = None
    level: int = 2
    keep_failed: bool = False
    calibration: Path | None = None
    calibration_samples: int = 0
    ranges: str | None = None
    quant_level: int | None = None
    layer: Sequence[str] | None = None
    compression: int | None = None
    recipe: Path | None = None
    to: Sequence[str] = field(default_factory=tuple)

    def options(self) -> ConvertOptions:
        """Validated; raises UsageError before any work is done."""
        from bessemer.ir.errors import UsageError
        from bessemer.request import Calibration, ConvertOptions
        from bessemer.script.recipe import load
        from bessemer.script.shapes import parse

        if self.data is None and (self.labels or self.label_offset or self.samples):
            raise UsageError("--labels, --label-offset and --samples speak of --data, which was not given")
        if self.data is None and self.calibration is None and self.preprocess:
            raise UsageError("--preprocess speaks of --data or --calibration, and neither was given")
        _check_bound(self.bound)
        return ConvertOptions(
            shapes=parse(self.shape or ()),
            signature=self.signature,
            original=self.original,
            factory=self.factory,
            task=self.task,
            graph=self.graph,
            inputs=names(self.inputs),
            outputs=names(self.outputs),
            adapters=tuple(map(_adapter, self.adapter or ())),
            base=self.base,
            config=self.config,
            data=self.data,
            labels=self.labels,
            label_offset=self.label_offset,
            preprocess=_preprocess(self.preprocess),
            samples=self.samples,
            seed=self.seed or 0,
            bound=self.bound,
            level=self.level,
            keep_failed=self.keep_failed,
            calibration=Calibration(
                self.calibration, self.calibration_samples, self.ranges, self.quant_level, self._quantize()
            ),
            recipe=None if self.recipe is None else load(self.recipe),
        )

    def _quantize(self) -> dict[str, Any]:
        """Fields of `Quantize` that have an option of their own."""
        found: dict[str, Any] = {} if self.seed is None else {"seed": self.seed}
        if self.compression is not None:
            found["compression"] = self.compression
        if self.layer:
            from bessemer.quantize.precision import parsed

            found["layers"] = parsed(self.layer)
        return found

    def requests(self) -> list[TargetRequest]:
        """The targets of `--to`, in order; the same one twice is a mistake."""
        from bessemer.ir.errors import UsageError
        from bessemer.request import TargetRequest
        from bessemer.script.target_spec import parse

        if not self.to:
            raise UsageError("No target is named", fix="Say --to onnx, for instance; `bessemer targets` lists them")
        specs = [parse(text) for text in self.to]
        for index, spec in enumerate(specs):
            if spec in specs[:index]:
                raise UsageError(f"--to {self.to[index]} stands twice", fix="Ask for each target once")
        return [TargetRequest(spec.name, spec.options) for spec in specs]


_SHARED: dict[str, tuple[Any, Any]] = {
    "to": (To, ()),
    "shape": (Shapes, None),
    "signature": (SignatureName, None),
    "original": (OriginalIn, "auto"),
    "factory": (Factory, None),
    "task": (Task, None),
    "graph": (Graph, "auto"),
    "inputs": (CutInputs, None),
    "outputs": (CutOutputs, None),
    "adapter": (Adapters, None),
    "base": (Base, None),
    "config": (Config, None),
    "data": (Data, None),
    "labels": (Labels, None),
    "label_offset": (LabelOffset, 0),
    "preprocess": (PreprocessText, None),
    "samples": (Samples, 0),
    "seed": (Seed, None),
    "bound": (Bound, None),
    "level": (Level, 2),
    "keep_failed": (KeepFailed, False),
    "calibration": (CalibrationData, None),
    "calibration_samples": (CalibrationSamples, 0),
    "ranges": (RangesMethod, None),
    "quant_level": (QuantLevel, None),
    "layer": (LayerPrecisions, None),
    "compression": (Compression, None),
    "recipe": (RecipeFile, None),
}
QUANTIZATION = ("calibration", "calibration_samples", "ranges", "quant_level", "layer", "compression", "recipe")
MODEL = ("shape", "signature", "original", "factory", "task", "graph", "inputs", "outputs", "adapter", "base", "config")
INPUTS = (*MODEL, "data", "preprocess", "samples", "seed")
VERDICT = (*INPUTS, "labels", "label_offset", "bound")


def asks(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command these shared options: it takes them as its first argument, an `Asked`."""
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in _SHARED.items()
        if name in names
    ]

    def wrap(function: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]

        def command(**given: Any) -> None:
            said = {item.name: given.pop(item.name) for item in shared}
            if "factory" in said and "model" in given:
                from bessemer.sources.base import split_factory

                given["model"], said["factory"] = split_factory(given["model"], said["factory"])
            asked = Asked(**said)
            function(asked, **given)

        keyword = [item.replace(kind=inspect.Parameter.KEYWORD_ONLY) for item in own]
        listed = [*keyword[:-1], *shared, keyword[-1]]  # --json ends every help page
        command.__doc__ = function.__doc__
        command.__signature__ = inspect.Signature(listed)  # type: ignore[attr-defined]
        command.__annotations__ = {}
        return command

    return wrap


def names(given: Sequence[str] | None) -> tuple[str, ...]:
    """Names as typed: repeated, or separated by commas (a comma within a name is spelled \\,)."""
    parts = (part for text in given or () for part in re.split(r"(?<!\\),", text))
    found = (part.replace("\\,", ",").strip() for part in parts)
    return tuple(dict.fromkeys(filter(None, found)))


def _adapter(text: str) -> tuple[Path, float]:
    """PATH or PATH=FACTOR. Raises UsageError."""
    from bessemer.ir.errors import UsageError

    path, equals, factor = text.rpartition("=")
    if not equals or Path(text).exists():
        return Path(text), 1.0
    try:
        return Path(path), float(factor)
    except ValueError:
        raise UsageError(f"--adapter {text} ends in no number", fix="Write PATH or PATH=FACTOR, base-lora=0.5") from None


def _check_bound(text: str | None) -> None:
    if text is not None:
        from bessemer.verify.closeness import Closeness

        Closeness.parse(text)


def _preprocess(text: str | None) -> Preprocess | None:
    if not text:
        return None
    from bessemer.verify.preprocess import Preprocess

    return Preprocess.parse(text)
