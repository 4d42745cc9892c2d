"""Int8 accuracy on real models and data: ours against ONNX Runtime's quantizer, NNCF, AIMET and Quark.

python bench/quantize.py FOLDER --work DIR [--nncf VENV] [--aimet VENV] [--quark VENV] [--task NAME]... [--limit S]
                         [--redo] [--write docs/quantization.md]

FOLDER holds the models and data that tasks/data.py names. All tools read the same calibration samples, and the rivals
the float ONNX file that we write; each runs in a process of its own. DIR keeps every figure, so that an interrupted
table goes on where it stood; --redo measures the chosen tasks again.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measure import load, measure
from tasks.data import TASKS, Data, Task
from tasks.score import score

HERE = Path(__file__).parent / "tasks"
LEVELS = {0: 1, 1: 16, 3: 256}
"""Our levels with the samples that each needs."""
PEERS = {
    "ort-minmax": "ONNX Runtime MinMax",
    "ort-percentile": "ONNX Runtime Percentile",
    "ort-entropy": "ONNX Runtime Entropy",
    "nncf": "NNCF",
    "aimet": "AIMET",
    "aimet-cle": "AIMET CLE",
    "aimet-adaround": "AIMET AdaRound",
    "quark": "Quark A8W8",
}
Row = dict[str, Any]
Run = Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]


def onnx_run(path: Path) -> tuple[Run, str]:
    """A model in ONNX Runtime, with the name of its input."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 2, 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda sample: session.run(None, {name: sample})[0], name


def tflite_run(path: Path) -> Run:
    """A model in LiteRT, float at its borders."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=2)
    interpreter.allocate_tensors()
    (source,), (result, *_) = interpreter.get_input_details(), interpreter.get_output_details()

    def run(sample: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        interpreter.set_tensor(source["index"], sample)
        interpreter.invoke()
        return interpreter.get_tensor(result["index"])

    return run


def figures(work: Path, task: Task) -> Path:
    """Where a task's figures are kept."""
    return work / task.name.replace(" ", "-") / "figures.json"


class Bench:
    """One task: its data, its float results, and the rows found so far."""

    def __init__(self, task: Task, folder: Path, work: Path, limit: float) -> None:
        self.task, self.model, self.limit = task, folder / task.model, limit
        self.data: Data = task.load(folder)
        self.work = figures(work, task).parent
        self.work.mkdir(parents=True, exist_ok=True)
        self._float()

    def _float(self) -> None:
        done = measure([sys.executable, str(HERE / "ours.py"), str(self.model), "-", str(self.work), "float"])
        found = [line.split(" ", 1)[1] for line in done.out.splitlines() if line.startswith("onnx ")]
        if not found:
            raise SystemExit(f"{self.task.name}: no float model: {done.tail}")
        self.onnx = Path(found[0])
        run, name = onnx_run(self.onnx)
        self.want = [run(sample) for sample in self.data.evaluate]
        self.samples = self.work / "samples.npz"
        np.savez(self.samples, **{name: self.data.calibrate})

    def judge(self, run: Run) -> Row:
        """Figures of one artifact."""
        got = [run(sample) for sample in self.data.evaluate]
        return score(self.task, got, self.want, self.data.labels)

    def float_row(self) -> Row:
        """The float model against itself."""
        return {"who": "float", "where": "ONNX Runtime", **score(self.task, self.want, self.want, self.data.labels)}

    def ours(self, level: int, method: str) -> list[Row]:
        """Both artifacts of one level."""
        folder = self.work / f"ours-{level}-{method}"
        folder.mkdir(exist_ok=True)
        script = [str(HERE / "ours.py"), str(self.model), str(self.samples), str(folder), str(level), method]
        done = measure([sys.executable, *script], limit=self.limit)
        facts = dict(line.split(" ", 1) for line in done.out.splitlines() if " " in line)
        rows = []
        for target, where in (("ort", "ONNX Runtime"), ("tflite", "LiteRT")):
            row: Row = {"who": f"ours, level {level}" + (f", {method}" if method != "auto" else ""), "where": where}
            row |= {"seconds": done.seconds, "peak": done.peak, "chose": facts.get("chose", "")}
            if target in facts:
                path = Path(facts[target])
                row |= self.judge(onnx_run(path)[0] if target == "ort" else tflite_run(path))
                row["bytes"] = path.stat().st_size
            else:
                row["failed"] = _last(done.tail)
            rows.append(row)
        return rows

    def peer(self, kind: str, python: str) -> Row:
        """One rival."""
        out = self.work / f"{kind}.onnx"
        out.unlink(missing_ok=True)
        command = [python, str(HERE / "peer.py"), kind, str(self.onnx), str(self.samples), str(out)]
        done = measure(command, limit=self.limit, cwd=self.work)
        row: Row = {"who": PEERS[kind], "where": "ONNX Runtime", "seconds": done.seconds, "peak": done.peak}
        if done.code or not out.exists():
            return row | {"failed": _last(done.tail)}
        try:
            return row | self.judge(onnx_run(out)[0]) | {"bytes": out.stat().st_size}
        except RuntimeError as error:  # what they wrote does not run
            return row | {"failed": f"does not run: {_last(str(error))}"}


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[-1] if lines else "no message")[:160]


COLUMNS = {
    "classes": (("top-1 %", "top1", "{:.2f}"), ("agree %", "agree", "{:.2f}"), ("SNR dB", "snr", "{:.1f}")),
    "boxes": (("AP", "ap", "{:.1f}"), ("AP50", "ap50", "{:.1f}"), ("SNR dB", "snr", "{:.1f}")),
    "snr": (("SNR dB", "snr", "{:.1f}"),),
}


def render(tables: dict[str, dict[str, Any]]) -> str:
    """The page."""
    lines = [
        "# Accuracy after quantization",
        "",
        "Generated by `python bench/quantize.py`. Every tool calibrates on the same samples, none of which is evaluated;",
        "figures are those of the written artifact in its runtime. SNR is that of the outputs against the float model's.",
        "Seconds and memory are of the whole process on a machine that others use too: compare them within a table.",
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
            cells += [f"fails: {said}", *[""] * (len(columns) - 1), ""]
        else:
            cells += ["-" if row["who"] == "float" and key in ("snr", "agree") else form.format(row[key])
                      for _, key, form in columns]  # fmt: skip
            cells.append(f"{row['bytes']:,}" if "bytes" in row else "")
        cells += [f"{row['seconds']:.0f}", f"{row['peak'] / 1e6:.0f}"] if "seconds" in row else ["", ""]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def fill(task: Task, args: argparse.Namespace, known: dict[str, Any], store: Path) -> None:
    """Measure what `known` lacks."""
    bench = Bench(task, args.folder, args.work, args.limit)
    sizes = {"calibrate": len(bench.data.calibrate), "evaluate": len(bench.data.evaluate)}
    rows = known.setdefault("rows", [bench.float_row()])
    known.update(sizes, load=load())

    def add(found: list[Row]) -> None:
        rows.extend(found)
        for row in found:
            print(task.name, {key: round(v, 2) if isinstance(v, float) else v for key, v in row.items()}, flush=True)
        store.write_text(json.dumps(known, indent=1))

    have = {row["who"] for row in rows}
    for level, need in LEVELS.items():
        if need <= sizes["calibrate"] and f"ours, level {level}" not in have:
            add(bench.ours(level, "auto"))
    pythons = {"ort": sys.executable} | {
        name: str(venv / "bin/python") for name in ("nncf", "aimet", "quark") if (venv := getattr(args, name))
    }
    for kind, title in PEERS.items():
        family = kind.split("-")[0]
        if family in pythons and title not in have and (not args.peer or kind in args.peer):
            add([bench.peer(kind, pythons[family])])


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    for name in ("nncf", "aimet", "quark"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--task", action="append", choices=[task.name for task in TASKS])
    parser.add_argument("--peer", action="append", choices=list(PEERS))
    parser.add_argument("--limit", type=float, default=400)
    parser.add_argument("--redo", action="store_true")
    parser.add_argument("--write", type=Path)
    args = parser.parse_args()
    args.folder, args.work = args.folder.resolve(), args.work.resolve()
    args.work.mkdir(parents=True, exist_ok=True)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    for task in TASKS:
        if args.task and task.name not in args.task:
            continue
        store = figures(args.work, task)
        known: dict[str, Any] = json.loads(store.read_text()) if store.exists() and not args.redo else {}
        fill(task, args, known, store)
    stores = {task.name: figures(args.work, task) for task in TASKS}
    tables = {name: json.loads(store.read_text()) for name, store in stores.items() if store.exists()}
    page = render(tables)
    if args.write:
        args.write.write_text(page)
    else:
        print(page)


if __name__ == "__main__":
    main()
