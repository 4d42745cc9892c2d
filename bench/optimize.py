"""Graph optimisation against onnxsim, onnxslim, onnxoptimizer and onnxscript: whole processes, side by side.

python bench/optimize.py --peers VENV MODEL...     (VENV holds the four peers; see bench/README.md)
Ours opens, rewrites and writes the model (`--level 2`) without executing it, as the peers do.
The tools take turns; prints a Markdown table.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from measure import Measured, load, measure, median, peak, ratio

OURS = """
import sys
from pathlib import Path
from bessemer.opening import normalise, open_model
from bessemer.request import ConvertOptions
from bessemer.targets.graph_file import write_graph
model = open_model(Path(sys.argv[1]), ConvertOptions().opening)
normalise(model, ConvertOptions())
write_graph(model.graph, Path(sys.argv[2]), "auto")
"""
PEERS = {
    "onnxsim": "import onnx, onnxsim; m, ok = onnxsim.simplify(onnx.load(sys.argv[1]), check_n=0); save(m)",
    "onnxslim": "import onnx, onnxslim; save(onnxslim.slim(onnx.load(sys.argv[1])))",
    "onnxoptimizer": "import onnx, onnxoptimizer; save(onnxoptimizer.optimize(onnx.load(sys.argv[1])))",
    "onnxscript": "import onnx, onnxscript.optimizer as o; save(o.optimize(onnx.load(sys.argv[1])))",
}
SAVE = """
import sys
def save(model):
    import onnx
    onnx.save(model, sys.argv[2], save_as_external_data=True, location="w.data")
"""
COUNT = """
import sys, onnx
def nodes(graph):
    inner = [a.g for n in graph.node for a in n.attribute if a.HasField("g")]
    return sum(n.op_type != "Constant" for n in graph.node) + sum(map(nodes, inner))
m = onnx.load(sys.argv[1], load_external_data=False)
print(nodes(m.graph) + sum(len(f.node) for f in m.functions))
"""


def once(python: str, program: str, model: Path) -> tuple[Measured, str, int]:
    """One measured run, nodes left and bytes written."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.onnx"
        found = measure([python, "-c", program, str(model), str(out)])
        if not out.exists():
            return found, "-", 0
        left = measure([sys.executable, "-c", COUNT, str(out)]).out.strip()
        return found, left, sum(file.stat().st_size for file in Path(folder).iterdir())


def stored(model: Path) -> int:
    """Bytes of a model and of the weights beside it."""
    beside = model.with_name(f"{model.name}.data")
    return model.stat().st_size + (beside.stat().st_size if beside.exists() else 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--peers", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    peer = str(arguments.peers / "bin" / "python")
    tools = {"bessemer": (sys.executable, OURS)} | {name: (peer, SAVE + code) for name, code in PEERS.items()}
    print(f"{load()}\n")
    print("| model | tool | nodes left | s | times ours | MB | times the model | MB written |")
    print("| --- |" + " --- |" * 7)
    for model in arguments.models:
        size = stored(model)
        measure([sys.executable, "-c", "import bessemer.pipeline"])  # a checkout is compiled at its first run
        results: dict[str, list[Measured]] = {name: [] for name in tools}
        left: dict[str, tuple[str, int]] = {}
        for _ in range(arguments.rounds):
            for name, (python, program) in tools.items():
                found, nodes, written = once(python, program, model)
                results[name].append(found)
                left[name] = nodes, written
        for name, runs in results.items():
            nodes, written = left[name]
            code = "" if runs[0].code == 0 else f" (exit {runs[0].code})"
            print(
                f"| {model.stem} | {name} | {nodes}{code} | {median(runs):.2f} | {ratio(runs, results['bessemer']):.1f} "
                f"| {peak(runs) / 1e6:.0f} | {peak(runs) / size:.1f} | {written / 1e6:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
