"""Every real model of a folder to `onnx`, `ort` and `tflite`: verified, or declined with reasons, as a table.

python bench/real_models.py FOLDER [--write docs/real-models.md] [--only keras] [--original reference]

FOLDER is searched for files and directories of every format; SKIPPED holds folders of operator tests, data and hostile
files. Weights without a graph get the factory that FACTORIES names for them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

TARGETS = ("onnx", "ort", "tflite")
SKIPPED = ("onnx_graphs", "security", "data", "tests_data_basic")
FORMATS = ("onnx", "tflite", "keras", "tensorflow", "torch", "huggingface")
ARCHITECTURES = Path(__file__).resolve().parent.parent / "examples" / "architectures"
EXTRA = {
    "silero_vad.onnx": ("--shape", "input=1x256", "--shape", "state=2x1x128"),
    "silero_vad_op18_ifless.onnx": ("--shape", "input=1x512", "--shape", "state=2x1x128"),
}
"""Models whose unbound dims have only few legal sizes: windows of 256 samples at 8 kHz, of 512 at 16 kHz."""
FACTORIES = {
    "blazeface.pth": "blazeface.py:blazeface",
    "FastestDet_coco_ap05_0.253.pth": "fastestdet.py:fastestdet",
    "version-RFB-320.pth": "ultraface.py:rfb320",
    "yunet_n.pth": "yunet.py:yunet_n",
    "silero_vad_16k.safetensors": "silero.py:silero_16k",
    "stories260K.pt": "llama2c.py:stories260k",
    "resnet20-12fca82f.th": "resnet_cifar.py:resnet20",
    "squeezenet1_1_fp16.safetensors": "squeezenet.py:squeezenet1_1",
}
"""Who builds the module of a file of weights: a function of examples/architectures."""
MARKS = {
    "executed": "verified",
    "declined": "declined",
    "failed": "**failed**",
    "compiled-only": "compiled only",
}


def found_below(folder: Path, only: Sequence[str]) -> list[tuple[Path, str]]:
    """Models and their formats; what a directory that is one model holds is not looked at again."""
    from bessemer.ir.errors import BessemerError
    from bessemer.sources.sniff import identify

    found: list[tuple[Path, str]] = []
    for path in sorted(folder.iterdir()):
        try:
            format = identify(path).name if path.name not in SKIPPED else ""
        except BessemerError:
            format = ""
        if format == "huggingface" and not (path / "config.json").exists():
            format = ""  # a folder of single files
        if format in only and path.suffix != ".py":
            found.append((path, format))
        if path.is_dir() and path.name not in SKIPPED and format != "tensorflow":
            found += [item for item in found_below(path, only) if format != "huggingface" or item[1] != "torch"]
    return found


def words(model: Path, original: str) -> list[str]:
    """What is said of one model beside its targets."""
    factory = FACTORIES.get(model.name)
    return [
        *EXTRA.get(model.name, ()),
        *(("--factory", str(ARCHITECTURES / factory)) if factory else ()),
        *(("--original", original) if original != "auto" else ()),
    ]


def convert(model: Path, original: str, targets: Sequence[str] = TARGETS) -> dict[str, Any]:
    """The evidence of one model; {'error': ...} where there is none."""
    with tempfile.TemporaryDirectory() as out:
        wanted = [word for target in targets for word in ("--to", target)]
        command = [sys.executable, "-m", "bessemer", "convert", str(model), *wanted, "--out", out, "--json"]
        done = subprocess.run(
            [*command, *words(model, original)], capture_output=True, text=True, check=False
        )
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        found = {"error": (done.stderr or "no output").strip()[-300:]}
    return found


def cell(row: dict[str, Any]) -> str:
    """Status and closeness of one target."""
    if row["status"] != "executed":
        return MARKS[row["status"]]
    signals = [line["snr"] for line in row["outputs"] if line["snr"] is not None]
    return f"verified, {min(signals):.0f} dB" if signals else "verified, exact"


def reasons(row: dict[str, Any]) -> list[str]:
    """Why a row is not verified."""
    if row["status"] == "declined":
        return sorted({f"{item['op']}: {item['reason']}" for item in row["blockers"]})
    return [row["summary"]] if row["status"] == "failed" else []


def said(error: Any) -> str:
    """An error of `--json` as the paragraph that a terminal shows."""
    if not isinstance(error, dict):
        return str(error)
    return " ".join(f"{error[part].rstrip('.')}." for part in ("what", "where", "why", "fix") if error.get(part))


def opponent(evidence: dict[str, Any]) -> str:
    """What ran the original."""
    return next((row["reference"] for row in evidence["targets"] if row.get("reference")), "")


def render(found: Sequence[tuple[str, str, dict[str, Any]]]) -> str:
    """The page."""
    lines = [
        "# Real models",
        "",
        "Generated by `python bench/real_models.py`. Every artifact was executed in its target's runtime beside the",
        "original on generated inputs; the figure is the worst signal-to-noise ratio over all outputs and inputs.",
        "",
        "| model | format | " + " | ".join(TARGETS) + " | original in | seconds | peak MB |",
        "| --- | --- |" + " --- |" * (len(TARGETS) + 3),
    ]
    counts: Counter[str] = Counter()
    why: list[str] = []
    for name, format, evidence in found:
        if "targets" not in evidence:
            lines.append(f"| {name} | {format} | not read | | | | | |")
            why.append(f"- {name}: {said(evidence.get('error'))}")
            counts["not read"] += 1
            continue
        cells = [cell(row) for row in evidence["targets"]]
        counts.update(row["status"] for row in evidence["targets"])
        lines.append(
            f"| {name} | {format} | {' | '.join(cells)} | {opponent(evidence)} "
            f"| {evidence['seconds']:.1f} | {evidence['peak_bytes'] / 1e6:.0f} |"
        )
        said_by: dict[str, list[str]] = {}
        for row in evidence["targets"]:
            for reason in reasons(row):
                said_by.setdefault(reason, []).append(row["target"])
        why += [f"- {name}, {', '.join(targets)}: {reason}" for reason, targets in said_by.items()]
    total = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    return "\n".join([*lines, "", f"Rows: {total}.", "", "## Why", "", *why, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--write", type=Path)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=FORMATS, default=FORMATS)
    parser.add_argument("--original", choices=("auto", "runtime", "reference"), default="auto")
    arguments = parser.parse_args()
    models = found_below(arguments.folder, arguments.only)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        evidence = list(pool.map(lambda item: convert(item[0], arguments.original), models))
    found = [
        (str(path.relative_to(arguments.folder)), format, proof)
        for (path, format), proof in zip(models, evidence, strict=True)
    ]
    page = render(found)
    if arguments.write:
        arguments.write.write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
