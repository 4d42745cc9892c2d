"""Int8 accuracy on real models and data: ours against ONNX Runtime's quantizer, NNCF, AIMET and Quark.

python bench/quantize.py FOLDER --work DIR [--nncf VENV] [--aimet VENV] [--quark VENV] [--tensorflow VENV]
                         [--task NAME]... [--cell GLOB]... [--redo GLOB]... [--limit S] [--write docs/quantization.md]

FOLDER holds the models and data that tasks/data.py names. All tools read the same calibration samples, and the rivals
the float ONNX file that we write; each runs in a process of its own. DIR/TASK/CELL.json keeps every figure, so that an
interrupted table goes on where it stood, and several runs may share DIR: each takes cells that nobody is at. --redo
measures cells again (--redo 'ours*'), --cell measures these only (--cell none: just the page).
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from measure import Measured, load, measure
from tasks.artifacts import Run, onnx_inputs, onnx_run, play, tflite_run
from tasks.data import TASKS, Data, Task, variants
from tasks.score import score

HERE = Path(__file__).parent / "tasks"
PEERS = {
    "ort-minmax": "ONNX Runtime MinMax",
    "ort-percentile": "ONNX Runtime Percentile",
    "ort-entropy": "ONNX Runtime Entropy",
    "nncf": "NNCF",
    "aimet": "AIMET",
    "aimet-cle": "AIMET CLE",
    "quark": "Quark A8W8",
    "aimet-adaround": "AIMET AdaRound",
}
Row = dict[str, Any]


@dataclass(frozen=True)
class Ours:
    """A cell of ours: level, precision, samples that the level needs; tasks: the only ones that have it."""

    level: int
    need: int
    precision: str = "int8"
    tasks: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The cell's name."""
        return f"ours-{self.level}" if self.precision == "int8" else f"ours-{self.precision}-{self.level}"

    @property
    def title(self) -> str:
        """In the table."""
        return f"ours, level {self.level}" if self.precision == "int8" else f"ours W4A8, level {self.level}"


FOUR_BITS = ("MLPerf Tiny ResNet", "ResNet-20", "MobileNetV2")
SMALL = ("MLPerf Tiny ResNet", "ResNet-20", "MobileNetV1-0.25", "visual wake words")
OURS = (
    Ours(-100, 1),
    Ours(0, 1),
    Ours(1, 16),
    Ours(2, 1024, tasks=SMALL),
    Ours(3, 256),
    *(Ours(level, need, "int8x4", FOUR_BITS) for level, need in ((1, 16), (2, 1024), (3, 256))),
)


class Bench:
    """One task: its data and its float results."""

    def __init__(self, task: Task, folder: Path, work: Path, limit: float) -> None:
        self.task, self.limit, self.work = task, limit, work
        self.model = work / task.model if task.prepared else folder / task.model
        self.data: Data = task.load(folder)
        self.onnx = work / "float.path"
        self.samples = work / "samples.npz"

    def prepare(self, folder: Path, pythons: dict[str, str]) -> None:
        """The model, its float ONNX file and the calibration samples, once."""
        if self.task.prepared and not self.model.exists():
            python = pythons["tensorflow"] if self.task.prepared == "keywords" else sys.executable
            _must(measure([python, str(HERE / "prepare.py"), self.task.prepared, str(folder), str(self.model)]))
        if not self.onnx.exists():
            done = measure([sys.executable, str(HERE / "ours.py"), str(self.model), "-", str(self.work), "float"])
            _must(done)
            self.onnx.write_text(_facts(done)["onnx"])
        self.onnx = Path(self.onnx.read_text())
        run, name = onnx_run(self.onnx), self._main_input()
        self.want = play(run, self.data, self.data.evaluate, name)[0]
        if not self.samples.exists():
            feeds = play(run, self.data, self.data.calibrate, name)[1][:: self.task.thin]
            np.savez(self.samples, **{key: np.stack([feed[key] for feed in feeds]) for key in feeds[0]})

    def _main_input(self) -> str:
        (name,) = (name for name in onnx_inputs(self.onnx) if name not in self.data.state)
        return name

    @property
    def count(self) -> int:
        """Calibration samples."""
        return -(-len(self.data.calibrate) // self.task.thin)

    def judge(self, run: Run) -> Row:
        """Figures of one artifact."""
        got = play(run, self.data, self.data.evaluate, self._main_input())[0]
        return score(self.task, got, self.want, self.data.labels)

    def float_row(self) -> Row:
        """The float model against itself."""
        return {"who": "float", "where": "ONNX Runtime", **score(self.task, self.want, self.want, self.data.labels)}

    def ours(self, cell: Ours) -> list[Row]:
        """Both artifacts of one level."""
        folder = self.work / cell.key
        folder.mkdir(exist_ok=True)
        samples, count = self.samples_for(cell.need)
        script = [str(HERE / "ours.py"), str(self.model), str(samples), str(folder), str(cell.level), "auto"]
        done = measure([sys.executable, *script, cell.precision], limit=self.limit)
        facts = _facts(done)
        rows = []
        for target, where in (("ort", "ONNX Runtime"), ("tflite", "LiteRT")):
            row: Row = {"who": cell.title + (f", {count} samples" if count > self.count else ""), "where": where}
            row |= {"seconds": done.seconds, "peak": done.peak, "chose": facts.get("chose", "")}
            if target in facts:
                path = Path(facts[target])
                row |= self._judged(path, onnx_run if target == "ort" else tflite_run)
            else:
                row["failed"] = facts.get(f"declined-{target}", _last(done.tail))
            rows.append(row)
        return rows

    def samples_for(self, need: int) -> tuple[Path, int]:
        """The calibration samples, with variants of the pictures where a level needs more than there are."""
        if need <= self.count or self.task.pictures is None:
            return self.samples, self.count
        path = self.work / f"samples-{need}.npz"
        grown = variants(self.data.calibrate, need, self.task.pictures)
        if not path.exists():
            part = path.with_suffix(f".{os.getpid()}.npz")
            np.savez(part, **{self._main_input(): grown})
            part.replace(path)
        return path, len(grown)

    def peer(self, kind: str, python: str) -> list[Row]:
        """One rival."""
        out = self.work / f"{kind}.onnx"
        out.unlink(missing_ok=True)
        source = self._older() if kind == "nncf" else self.onnx
        command = [python, str(HERE / "peer.py"), kind, str(source), str(self.samples), str(out)]
        done = measure(command, limit=self.limit, cwd=self.work)
        row: Row = {"who": PEERS[kind], "where": "ONNX Runtime", "seconds": done.seconds, "peak": done.peak}
        if done.code or not out.exists():
            return [row | {"failed": _last(done.tail)}]
        return [row | self._judged(out, onnx_run)]

    def _older(self) -> Path:
        """The float model at opset 17: NNCF's unsigned Q/DQ pairs are not valid in the newest ones."""
        folder = self.work / "opset-17"
        folder.mkdir(exist_ok=True)
        done = measure([sys.executable, str(HERE / "ours.py"), str(self.model), "-", str(folder), "float", "opset=17"])
        _must(done)
        return Path(_facts(done)["onnx"])

    def _judged(self, path: Path, runner: Callable[[Path], Run]) -> Row:
        try:
            return self.judge(runner(path)) | {"bytes": path.stat().st_size}
        except refusals() as error:
            return {"failed": f"does not run: {_last(str(error))}"}


def refusals() -> tuple[type[Exception], ...]:
    """What a runtime raises at an artifact that it cannot load or run."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return RuntimeError, ValueError, state.Fail, state.InvalidArgument, state.InvalidGraph, state.NotImplemented


def _facts(done: Measured) -> dict[str, str]:
    """The lines 'NAME VALUE' that ours.py prints."""
    return {name: value for name, _, value in (line.partition(" ") for line in done.out.splitlines()) if value}


def _must(done: Measured) -> None:
    if done.code:
        raise SystemExit(done.tail)


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[-1] if lines else "no message")[:160]


COLUMNS = {
    "classes": (("top-1 %", "top1", "{:.2f}"), ("agree %", "agree", "{:.2f}"), ("SNR dB", "snr", "{:.1f}")),
    "boxes": (("AP", "ap", "{:.1f}"), ("AP50", "ap50", "{:.1f}"), ("SNR dB", "snr", "{:.1f}")),
    "speech": (("agree %", "agree", "{:.2f}"), ("SNR dB", "snr", "{:.1f}")),
    "snr": (("SNR dB", "snr", "{:.1f}"),),
}


def render(tables: dict[str, dict[str, Any]]) -> str:
    """The page."""
    lines = [
        "# Accuracy after quantization",
        "",
        "Generated by `python bench/quantize.py`. Every tool calibrates on the same samples, none of which is evaluated;",
        "figures are those of the written artifact in its runtime. SNR is that of the outputs against the float model's.",
        "Where one of our levels needs more pictures than there are, mirrored and shifted ones of the same are added, and",
        "the row says how many. Rivals run with their defaults, AIMET's AdaRound with 200 iterations. Seconds and memory",
        "are of the whole process on a machine that others use too: compare them within a table.",
    ]
    for task in TASKS:
        if task.name in tables:
            lines += ["", *_table(task, tables[task.name])]
    return "\n".join(lines) + "\n"


def _table(task: Task, table: dict[str, Any]) -> list[str]:
    columns = COLUMNS[task.metric]
    heads = ["tool", "runs in", *(title for title, _, _ in columns), "bytes", "s", "peak MB"]
    lines = [f"## {task.name}", "", f"{table['calibrate']} samples calibrate, {table['evaluate']} judge; {table['load']}."]
    lines += ["", "| " + " | ".join(heads) + " |", "| --- | --- |" + " --- |" * (len(heads) - 2)]
    for row in table["rows"]:
        cells = [row["who"], row["where"]]
        if "failed" in row:
            said = row["failed"].replace("|", "\\|")
            cells += [said if said.startswith("stopped") else f"fails: {said}", *[""] * (len(columns) - 1), ""]
        else:
            cells += ["-" if row["who"] == "float" and key in ("snr", "agree") else form.format(row[key])
                      for _, key, form in columns]  # fmt: skip
            cells.append(f"{row['bytes']:,}" if "bytes" in row else "")
        cells += [f"{row['seconds']:.0f}", f"{row['peak'] / 1e6:.0f}"] if "seconds" in row else ["", ""]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Whether this process is the one at work on it; the claim ends with the process, however that ends."""
    with open(path.with_suffix(".lock"), "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def place(work: Path, task: Task) -> Path:
    """Where a task's cells are kept."""
    return work / task.name.replace(" ", "-")


def order(task: Task) -> list[str]:
    """Cells of a task as the table lists them."""
    ours = [cell.key for cell in OURS if not cell.tasks or task.name in cell.tasks]
    return ["float", *ours, *PEERS]


def fill(bench: Bench, wanted: Sequence[str], pythons: dict[str, str]) -> None:
    """Measure the cells of a task that nobody has measured or is at."""
    for key in order(bench.task):
        store = bench.work / f"{key}.json"
        if store.exists() or not (key == "float" or any(fnmatchcase(key, glob) for glob in wanted)):
            continue
        with claimed(store) as mine:
            rows = cell_rows(bench, key, pythons) if mine and not store.exists() else None
            if rows is None:
                continue
            store.with_suffix(".part").write_text(json.dumps({"rows": rows, "load": load(), **sizes(bench)}, indent=1))
            store.with_suffix(".part").replace(store)
            for row in rows:
                print(bench.task.name, {k: round(v, 2) if isinstance(v, float) else v for k, v in row.items()}, flush=True)


def sizes(bench: Bench) -> dict[str, int]:
    """Of the task."""
    return {"calibrate": bench.count, "evaluate": len(bench.data.evaluate)}


def cell_rows(bench: Bench, key: str, pythons: dict[str, str]) -> list[Row] | None:
    """Measure one cell; None where there are too few samples for it, or its tool is not here."""
    if key == "float":
        return [bench.float_row()]
    if key in PEERS:
        python = pythons.get(key.split("-")[0])
        return bench.peer(key, python) if python else None
    cell = next(cell for cell in OURS if cell.key == key)
    return bench.ours(cell) if bench.samples_for(cell.need)[1] >= cell.need else None


def table(task: Task, work: Path) -> dict[str, Any] | None:
    """All cells of a task that are there."""
    paths = [place(work, task) / f"{key}.json" for key in order(task)]
    cells = [json.loads(path.read_text()) for path in paths if path.exists()]
    return {**cells[-1], "rows": [row for cell in cells for row in cell["rows"]]} if cells else None


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    for name in ("nncf", "aimet", "quark", "tensorflow"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--task", action="append", choices=[task.name for task in TASKS])
    parser.add_argument("--cell", action="append")
    parser.add_argument("--redo", action="append", default=[])
    parser.add_argument("--limit", type=float, default=400)
    parser.add_argument("--write", type=Path)
    args = parser.parse_args()
    folder, work = args.folder.resolve(), args.work.resolve()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    venvs = {name: getattr(args, name) for name in ("nncf", "aimet", "quark", "tensorflow")}
    pythons = {"ort": sys.executable} | {name: str(venv / "bin/python") for name, venv in venvs.items() if venv}
    chosen = [task for task in TASKS if not args.task or task.name in args.task]
    for task in chosen:
        for path in [path for glob in args.redo for path in place(work, task).glob(f"{glob}.json")]:
            path.unlink()
    wanted = args.cell or ["*"]
    for task in chosen if wanted != ["none"] else []:
        place(work, task).mkdir(parents=True, exist_ok=True)
        bench = Bench(task, folder, place(work, task), args.limit)
        bench.prepare(folder, pythons)
        fill(bench, wanted, pythons)
    page = render({task.name: found for task in TASKS if (found := table(task, work))})
    if args.write:
        args.write.write_text(page)
    else:
        print(page)


if __name__ == "__main__":
    main()
