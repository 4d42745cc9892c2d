"""Graph optimisation against onnxsim, onnxslim, onnxoptimizer and onnxscript: whole processes, side by side.

python bench/optimize.py --peers VENV MODEL...     (VENV holds the four peers; see bench/README.md)
Ours opens, rewrites and writes the model (`--level 2`) without executing it, as the peers do.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from measure import Measured, measure

OURS = """
import sys
from pathlib import Path
from bessemer.pipeline import ConvertOptions, normalise, open_model
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


def run(python: str, program: str, model: Path, runs: int) -> tuple[list[Measured], str, int]:
    """Measured runs, nodes left and bytes written."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.onnx"
        found = []
        for _ in range(runs):
            for old in Path(folder).iterdir():
                old.unlink()
            found.append(measure([python, "-c", program, str(model), str(out)]))
        if not out.exists():
            return found, "-", 0
        left = measure([sys.executable, "-c", COUNT, str(out)]).out.strip()
        return found, left, sum(file.stat().st_size for file in Path(folder).iterdir())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--peers", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=1)
    arguments = parser.parse_args()
    peer = str(arguments.peers / "bin" / "python")
    tools = [("bessemer", sys.executable, OURS), *((name, peer, SAVE + code) for name, code in PEERS.items())]
    for model in arguments.models:
        print(f"\n{model.name}", flush=True)
        ours = 0.0
        for name, python, program in tools:
            found, left, size = run(python, program, model, arguments.runs)
            seconds = statistics.median(item.seconds for item in found)
            ours = ours or seconds
            peak = max(item.peak for item in found) / 1e6
            print(
                f"{name:14s} {left:>5s} nodes  {seconds:7.2f} s ({seconds / ours:4.1f}x)  {peak:6.0f} MB  "
                f"{size / 1e6:7.1f} MB written  exit {found[0].code}",
                flush=True,
            )


if __name__ == "__main__":
    main()
