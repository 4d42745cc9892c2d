"""Options that several commands share, and how they become the pipeline's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bessemer.pipeline import ConvertOptions, TargetRequest
    from bessemer.verify.data import Preprocess

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
Data = Annotated[
    Path | None,
    typer.Option(
        "--data", metavar="PATH", help="Inputs to verify on: .npy, .npz, an image, or a directory of them."
    ),
]
Labels = Annotated[
    Path | None,
    typer.Option("--labels", metavar="PATH", help="Right answers (.npy, .npz): accuracy is compared too."),
]
PreprocessText = Annotated[
    str | None,
    typer.Option(
        "--preprocess",
        metavar="SPEC",
        help="Images to tensors: resize=256,crop=224,mean=0.485:0.456:0.406,std=0.229:0.224:0.225,"
        "order=rgb,layout=nchw,scale=255.",
    ),
]
Samples = Annotated[
    int, typer.Option("--samples", min=0, metavar="N", help="Use at most N samples of --data (0: all).")
]
Seed = Annotated[int, typer.Option("--seed", min=0, metavar="N", help="Seed of generated inputs.")]
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
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


@dataclass(frozen=True)
class Asked:
    """Shared options as typed by the user."""

    shape: Sequence[str] | None = None
    signature: str | None = None
    data: Path | None = None
    labels: Path | None = None
    preprocess: str | None = None
    samples: int = 0
    seed: int = 0
    bound: str | None = None
    level: int = 2
    keep_failed: bool = False
    to: Sequence[str] = field(default_factory=tuple)

    def options(self) -> ConvertOptions:
        """Validated; raises UsageError before any work is done."""
        from bessemer.ir.errors import UsageError
        from bessemer.pipeline import ConvertOptions
        from bessemer.script.shapes import parse

        if self.data is None and (self.labels or self.preprocess or self.samples):
            raise UsageError("--labels, --preprocess and --samples speak of --data, which was not given")
        _check_bound(self.bound)
        return ConvertOptions(
            shapes=parse(self.shape or ()),
            signature=self.signature,
            data=self.data,
            labels=self.labels,
            preprocess=_preprocess(self.preprocess),
            samples=self.samples,
            seed=self.seed,
            bound=self.bound,
            level=self.level,
            keep_failed=self.keep_failed,
        )

    def requests(self) -> list[TargetRequest]:
        """The targets of `--to`, in order; the same one twice is a mistake."""
        from bessemer.ir.errors import UsageError
        from bessemer.pipeline import TargetRequest
        from bessemer.script.target_spec import parse

        specs = [parse(text) for text in self.to]
        for index, spec in enumerate(specs):
            if spec in specs[:index]:
                raise UsageError(f"--to {self.to[index]} stands twice", fix="Ask for each target once")
        return [TargetRequest(spec.name, spec.options) for spec in specs]


def _check_bound(text: str | None) -> None:
    if text is not None:
        from bessemer.verify.closeness import Closeness

        Closeness.parse(text)


def _preprocess(text: str | None) -> Preprocess | None:
    if not text:
        return None
    from bessemer.verify.data import Preprocess

    return Preprocess.parse(text)
