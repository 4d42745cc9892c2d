"""One rival quantizes one ONNX model: peer.py KIND MODEL SAMPLES.npz OUT.onnx, run with the rival's own interpreter.

SAMPLES.npz holds the model's inputs by name, each (samples, *shape). Prints the seconds of the work itself.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

Feed = dict[str, np.ndarray]


class Reader:
    """What onnxruntime.quantization calls a CalibrationDataReader."""

    def __init__(self, feeds: list[Feed]) -> None:
        self.feeds, self.left = feeds, iter(feeds)

    def get_next(self) -> Feed | None:
        """The next sample, None at the end."""
        return next(self.left, None)

    def rewind(self) -> None:
        """From the start again."""
        self.left = iter(self.feeds)

    def __len__(self) -> int:
        return len(self.feeds)

    def set_range(self, start_index: int, end_index: int) -> None:
        """Only some samples (asked for by strided calibration)."""
        self.left = iter(self.feeds[start_index:end_index])


def ort(method: str) -> Callable[[Path, list[Feed], Path], None]:
    """onnxruntime.quantization: Q/DQ, int8 weights per channel, int8 activations."""

    def run(model: Path, feeds: list[Feed], out: Path) -> None:
        from onnxruntime import quantization as q
        from onnxruntime.quantization.shape_inference import quant_pre_process

        ready = out.with_suffix(".ready.onnx")
        quant_pre_process(str(model), str(ready), skip_symbolic_shape=True)
        q.quantize_static(
            str(ready), str(out), Reader(feeds), quant_format=q.QuantFormat.QDQ, per_channel=True,
            activation_type=q.QuantType.QInt8, weight_type=q.QuantType.QInt8,
            calibrate_method=q.CalibrationMethod[method],
        )  # fmt: skip

    return run


def nncf(model: Path, feeds: list[Feed], out: Path) -> None:
    """NNCF's defaults, all samples."""
    import nncf as tool
    import onnx

    onnx.save(tool.quantize(onnx.load(str(model)), tool.Dataset(feeds), subset_size=len(feeds)), str(out))


def aimet(*steps: str) -> Callable[[Path, list[Feed], Path], None]:
    """AIMET: int8 with its default configuration, after cross-layer equalization or AdaRound where asked for."""

    def run(model: Path, feeds: list[Feed], out: Path) -> None:
        import aimet_onnx
        import onnx
        from aimet_onnx.quantsim import QuantizationSimModel

        held = onnx.load(str(model))
        if "cle" in steps:
            from aimet_onnx.cross_layer_equalization import equalize_model

            equalize_model(held)
        sim = QuantizationSimModel(held, param_type="int8", activation_type="int8", config_file="default")
        if "adaround" in steps:
            aimet_onnx.apply_adaround(sim, feeds, num_iterations=200)
        sim.compute_encodings(feeds)
        onnx.save(sim.to_onnx_qdq(), str(out))

    return run


def quark(model: Path, feeds: list[Feed], out: Path) -> None:
    """Quark's A8W8 configuration."""
    from quark.onnx import ModelQuantizer
    from quark.onnx.quantization.config import Config, get_default_config

    ModelQuantizer(Config(global_quant_config=get_default_config("A8W8"))).quantize_model(
        str(model), str(out), Reader(feeds)
    )


KINDS: dict[str, Callable[[Path, list[Feed], Path], None]] = {
    "ort-minmax": ort("MinMax"),
    "ort-percentile": ort("Percentile"),
    "ort-entropy": ort("Entropy"),
    "nncf": nncf,
    "aimet": aimet(),
    "aimet-cle": aimet("cle"),
    "aimet-adaround": aimet("adaround"),
    "quark": quark,
}


def main() -> None:
    """See above."""
    kind, model, samples, out = sys.argv[1:]
    with np.load(samples) as held:
        arrays = {name: held[name] for name in held.files}
    count = len(next(iter(arrays.values())))
    feeds = [{name: array[place] for name, array in arrays.items()} for place in range(count)]
    start = time.perf_counter()
    KINDS[kind](Path(model), feeds, Path(out))
    print(f"seconds {time.perf_counter() - start:.2f}")


if __name__ == "__main__":
    main()
