"""Calibration of large models: seconds and memory, against onnxruntime's quantize_static.

python bench/calibrate.py --resnet resnet50.onnx --bert bert.onnx [--pairs N] [--write docs/benchmarks.md]

The models come from bench/make_models.py (random weights: only the cost is asked for). ResNet-50 with entropy ranges
on 32 images, whole processes, in alternation: `bessemer convert --to ort:int8 --ranges entropy --quant-level -100
--stop-after write` and the rival's quantize_static(Entropy), which does not verify either; then ours once with its
verification. BERT-base with percentile ranges on 128 samples of 128 tokens: ours alone, since the rival keeps every
activation. Below, what the float model alone takes for the same samples. --write replaces the section of the page.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from measure import Measured, load, measure, median, peak, ratio

PEER = Path(__file__).parent / "tasks" / "peer.py"
TITLE = "## Calibration"


def ours(model: Path, data: Path, ranges: str, out: Path, *more: str) -> list[str]:
    """From the command line to an artifact."""
    return [
        sys.executable, "-m", "bessemer", "convert", str(model), "--to", "ort:int8", "--out", str(out), "--calibration",
        str(data), "--ranges", ranges, "--quant-level", "-100", *more,
    ]  # fmt: skip


def floor(model: Path, data: Path) -> list[str]:
    """The float model over the same samples in ONNX Runtime, and nothing else."""
    run = (
        "import sys, numpy, onnxruntime as o; s = o.InferenceSession(sys.argv[1]); held = numpy.load(sys.argv[2])\n"
        "(name,) = held.files; [s.run(None, {name: sample}) for sample in held[name]]"
    )
    return [sys.executable, "-c", run, str(model), str(data)]


def checked(run: Measured) -> Measured:
    """A run that failed proves nothing."""
    if run.code:
        raise SystemExit(f"exit {run.code}: {run.tail}{run.out[-2000:]}")
    return run


def images(folder: Path) -> tuple[Path, Path]:
    """32 images of noise: for us one file, for the rival's reader one by one."""
    pixels = np.random.default_rng(0).standard_normal((32, 3, 224, 224), dtype=np.float32)
    mine, theirs = folder / "images.npz", folder / "single.npz"
    np.savez(mine, x=pixels)
    np.savez(theirs, x=pixels[:, None])
    return mine, theirs


def tokens(folder: Path) -> tuple[Path, Path]:
    """128 samples of 128 tokens."""
    numbers = np.random.default_rng(0).integers(0, 30000, (128, 128), np.int64)
    mine, single = folder / "tokens.npz", folder / "single-tokens.npz"
    np.savez(mine, input_ids=numbers)
    np.savez(single, input_ids=numbers[:, None])
    return mine, single


def whole(model: Path, folder: Path) -> Path:
    """In one file: the rival's preparation cannot follow weights beside the graph."""
    import onnx

    path = folder / "whole.onnx"
    onnx.save(onnx.load(model), path)
    return path


def resnet(model: Path, folder: Path, pairs: int) -> list[str]:
    """The race with the rival."""
    mine, theirs = images(folder)
    model = whole(model, folder)
    peer = [sys.executable, str(PEER), "ort-entropy", str(model), str(theirs), str(folder / "rival.onnx")]
    found: tuple[list[Measured], list[Measured]] = ([], [])
    for pair in range(pairs):
        command = ours(model, mine, "entropy", folder / f"ours-{pair}", "--stop-after", "write")
        found[0].append(checked(measure(command)))
        found[1].append(checked(measure(peer)))
        for run in (found[0][-1], found[1][-1]):
            print(f"{run.seconds:.1f} s, {run.cpu:.1f} CPU s, {run.peak / 1e6:.0f} MB", flush=True)
    verified = checked(measure(ours(model, mine, "entropy", folder / "verified")))
    bare = checked(measure(floor(model, theirs)))
    processor = statistics.median(t.cpu / o.cpu for o, t in zip(*found, strict=True))
    faster, leaner = ratio(found[1], found[0]), peak(found[1]) / peak(found[0])
    return [
        f"ResNet-50, 32 images, entropy ({load()}).",
        "",
        f"Times faster by the clock {faster:.1f}, by the processor {processor:.1f}; times leaner {leaner:.1f}.",
        "",
        *HEAD,
        _row("**bessemer**", found[0]),
        _row("ONNX Runtime `quantize_static`", found[1]),
        _row("bessemer, verified beside the original", [verified]),
        _row("the float model alone", [bare]),
    ]


def bert(model: Path, folder: Path) -> list[str]:
    """Ours alone, beside the float model's own cost."""
    mine, single = tokens(folder)
    run = checked(measure(ours(model, mine, "percentile", folder / "bert", "--stop-after", "write"), limit=1500))
    bare = checked(measure(floor(model, single), limit=1500))
    return [
        f"BERT-base, 128 samples of 128 tokens, percentile ({load()}).",
        "",
        *HEAD,
        _row("**bessemer**", [run]),
        _row("the float model alone", [bare]),
    ]


HEAD = ("| process | runs | s | CPU s | peak MB |", "| --- | --- | --- | --- | --- |")


def _row(name: str, runs: Sequence[Measured]) -> str:
    processor = statistics.median(run.cpu for run in runs)
    return f"| {name} | {len(runs)} | {median(runs):.1f} | {processor:.1f} | {peak(runs) / 1e6:.0f} |"


def rewritten(page: str, section: list[str]) -> str:
    """The page with the section in place of the one of that title, or at its end."""
    before, found, after = page.partition(f"{TITLE}\n")
    rest = after[after.index("\n## ") + 1 :] if found and "\n## " in after else ""
    return before.rstrip("\n") + "\n\n" + "\n".join(section) + "\n" + (f"\n{rest}" if rest else "")


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resnet", type=Path)
    parser.add_argument("--bert", type=Path)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--write", type=Path)
    args = parser.parse_args()
    lines = [TITLE, "", "`python bench/calibrate.py --resnet MODEL --bert MODEL`; random weights, medians over the runs."]
    with tempfile.TemporaryDirectory() as folder:
        if args.resnet:
            lines += ["", *resnet(args.resnet.resolve(), Path(folder), args.pairs)]
        if args.bert:
            lines += ["", *bert(args.bert.resolve(), Path(folder))]
    print("\n".join(lines))
    if args.write:
        args.write.write_text(rewritten(args.write.read_text(), lines))


if __name__ == "__main__":
    main()
