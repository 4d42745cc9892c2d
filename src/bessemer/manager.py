"""`ConversionManager`: one model, one target, one call, configured by a dictionary.

Keys of `config` (all optional; every other key is an error):

    format              target name, when `converter_name` does not say it ('onnx', 'ort', 'tflite')
    opset_version       int: opset of the artifact (target option `opset`)
    precision           'float32', 'float16', ... or an alias ('fp16')
    optimization_level  0 to 3: how far the passes go
    shapes              {input: [1, 3, 224, 224]}; a str names an axis, a pair (low, high) is a range
    signature           which signature of a file that holds several
    inputs, outputs     lists of names that the model is cut at
    data, labels        what to verify on, as after --data and --labels
    preprocess          text as after --preprocess
    samples, seed       how many samples of `data`; seed of generated inputs
    bound               named closeness, e.g. 'close(1e-3, 1e-3)'
    ...                 any option of the target itself (io, external_data, keep, ...)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bessemer.ir.errors import Blocker, Declined, UsageError, VerificationFailed

if TYPE_CHECKING:
    import os

    from bessemer.request import ConvertOptions, TargetRequest
    from bessemer.verify.evidence import Evidence, TargetEvidence

RENAMED = {"opset_version": "opset"}
"""Key of the config -> option of the target."""

WHOLE = (
    "shapes",
    "signature",
    "inputs",
    "outputs",
    "data",
    "labels",
    "label_offset",
    "preprocess",
    "samples",
    "seed",
    "bound",
    "optimization_level",
)
"""Keys that concern the conversion and not the target."""


@dataclass(frozen=True)
class Conversion:
    """What a successful conversion left: the artifact to load, and the evidence that it was verified."""

    path: Path
    evidence: Evidence


class ConversionManager:
    """Converts one model to one target and raises when the artifact is not verified."""

    def convert(
        self,
        model_path: str | os.PathLike[str],
        output_path: str | os.PathLike[str],
        converter_name: str,
        config: Mapping[str, Any] | None = None,
    ) -> Conversion:
        """Convert `model_path`; returns where the artifact is, with its evidence.

        output_path: a directory, or a file when it ends in the target's suffix.
        converter_name: a target ('onnx', 'ort', 'tflite') or a road ('tflite2onnx', 'onnx2tflite').
        Raises UsageError, UnreadableInput, MissingExtra, Declined (all blockers) or VerificationFailed.
        """
        from bessemer import pipeline

        source, target, out = Path(model_path), *_destination(converter_name, config or {}, Path(output_path))
        _check_source(source, converter_name)
        request, options = _split(target, config or {})
        folder = out if out.suffix == "" else out.parent
        evidence = pipeline.convert(source, [request], folder, options)
        row = evidence.targets[0]
        _raise_unless_verified(row)
        made = folder / row.files[0].path
        return Conversion(_named(made, out, row) if out is not folder else made, evidence)


def unknown_key(kind: str, key: str, known: Iterable[str]) -> UsageError:
    """The error for a key that nobody knows, with the nearest that somebody does."""
    names = sorted(known)
    near = get_close_matches(key, names, n=1)
    hint = f"Did you mean '{near[0]}'? " if near else ""
    return UsageError(f"There is no {kind} '{key}'", fix=f"{hint}Known: {', '.join(names)}")


def _destination(converter: str, config: Mapping[str, Any], out: Path) -> tuple[str, Path]:
    """Target name and output; 'format' may repeat the converter's target or refine it, not contradict it."""
    from bessemer.targets.registry import find

    target = converter.rpartition("2")[2] or str(config.get("format", ""))
    said = str(config.get("format", target))
    entry = find(target)
    if said != target and said != entry.suffix.lstrip("."):
        raise UsageError(f"config says format '{said}', the converter '{converter}' makes '{target}'",
                         fix="Let both name one target, or leave out 'format'")  # fmt: skip
    if out.suffix and out.suffix != entry.suffix and not out.is_dir():
        raise UsageError(f"{out} does not end in {entry.suffix}, which the target '{target}' writes",
                         fix=f"Name a directory or a file ending in {entry.suffix}")  # fmt: skip
    return target, out


def _check_source(source: Path, converter: str) -> None:
    from bessemer.sources.sniff import identify

    wanted, road, _ = converter.rpartition("2")
    found = identify(source)
    if road and wanted != found.name:
        raise UsageError(f"The converter '{converter}' reads {wanted}, but {source} is {found.title}",
                         fix="Name the converter by its target alone, or give the right file")  # fmt: skip


def _split(target: str, config: Mapping[str, Any]) -> tuple[TargetRequest, ConvertOptions]:
    """Options of the target, and of the conversion."""
    from bessemer.request import ConvertOptions, TargetRequest
    from bessemer.script.target_spec import PRECISIONS
    from bessemer.targets.registry import find
    from bessemer.verify.preprocess import Preprocess

    known = set(find(target).load().options.model_fields)
    options: dict[str, Any] = {}
    for key, value in config.items():
        name = RENAMED.get(key, key)
        if name in known:
            options[name] = PRECISIONS.get(str(value), value) if name == "precision" else value
        elif key not in (*WHOLE, "format"):
            raise unknown_key("config key", key, {*known, *WHOLE, "format", *RENAMED})
    whole = {key: config[key] for key in WHOLE if config.get(key) is not None}
    if "preprocess" in whole:
        whole["preprocess"] = Preprocess.parse(whole["preprocess"])
    if "optimization_level" in whole:
        whole["level"] = whole.pop("optimization_level")
    whole |= {key: Path(whole[key]) for key in ("data", "labels") if key in whole}
    whole |= {key: tuple(whole[key]) for key in ("inputs", "outputs") if key in whole}
    whole |= {"shapes": {name: tuple(dims) for name, dims in whole.get("shapes", {}).items()}}
    return TargetRequest(target, options), ConvertOptions(**whole)


def _raise_unless_verified(row: TargetEvidence) -> None:
    if row.status == "declined":
        raise Declined(row.target, [Blocker(**item.model_dump()) for item in row.blockers])
    if not row.verified:
        raise VerificationFailed(row.summary, fix="Nothing was written")


def _named(made: Path, out: Path, row: TargetEvidence) -> Path:
    """The artifact under the caller's name; external weights keep theirs, which it refers to."""
    if len(row.files) > 1 and made.suffix != ".onnx":
        raise UsageError(f"The target wrote {len(row.files)} files, which one name cannot hold",
                         fix="Give a directory as output_path")  # fmt: skip
    return made.replace(out)
