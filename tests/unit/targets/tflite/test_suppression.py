"""NonMaxSuppression against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.unit.targets.tflite.conversion import agree, save, tensor

RNG = np.random.default_rng(11)


@pytest.mark.parametrize("centred", [0, 1])
@pytest.mark.parametrize("overlap", [0.0, 0.3])
def test_images_and_classes(tmp_path: Path, centred: int, overlap: float) -> None:
    held = [
        numpy_helper.from_array(np.array([5], np.int64), "most"),
        numpy_helper.from_array(np.array([overlap], np.float32), "overlap"),
        numpy_helper.from_array(np.array([0.2], np.float32), "score"),
    ]
    node = helper.make_node(
        "NonMaxSuppression", ["boxes", "scores", "most", "overlap", "score"], ["y"], center_point_box=centred
    )
    inputs = [tensor("boxes", 2, 20, 4), tensor("scores", 2, 3, 20)]
    path = save(tmp_path / "m.onnx", [node], inputs, [tensor("y", "n", 3, kind=TensorProto.INT64)], held)
    low = RNG.uniform(0, 1, (2, 20, 2))
    boxes = np.concatenate([low, low * (not centred) + RNG.uniform(0.1, 0.6, (2, 20, 2))], axis=2)
    scores = RNG.uniform(0, 1, (2, 3, 20)).astype(np.float32)
    agree(path, tmp_path, {"boxes": boxes.astype(np.float32), "scores": scores}, tolerance=0)
