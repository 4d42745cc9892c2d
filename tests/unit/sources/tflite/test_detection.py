"""TFLite_Detection_PostProcess against the runtime's own operator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.unit.sources.tflite.single import Builder, both

pytest.importorskip("ai_edge_litert")
flexbuffers = pytest.importorskip("flatbuffers.flexbuffers")


def options(**changes: float) -> bytes:
    held: dict[str, float | bool] = {
        "max_detections": 6, "max_classes_per_detection": 1, "detections_per_class": 4,
        "use_regular_nms": False,
        "nms_score_threshold": 0.3, "nms_iou_threshold": 0.5, "num_classes": 3,
        "y_scale": 10.0, "x_scale": 10.0, "h_scale": 5.0, "w_scale": 5.0, **changes,
    }  # fmt: skip
    return bytes(flexbuffers.Dumps(held))


@pytest.mark.parametrize("regular", [False, True])
@pytest.mark.parametrize("threshold", [0.3, 0.97])
def test_as_the_runtime(tmp_path: Path, regular: bool, threshold: float) -> None:
    rng = np.random.default_rng(3)
    build = Builder()
    boxes = build.input(rng.normal(size=(1, 40, 4)))
    scores = build.input(rng.random((1, 40, 4)))
    centres, sizes = rng.random((40, 2)), 0.2 + 0.2 * rng.random((40, 2))
    anchors = build.const(np.concatenate([centres, sizes], axis=1))
    results = [build.tensor(shape) for shape in ((1, 6, 4), (1, 6), (1, 6), (1,))]
    custom = options(use_regular_nms=regular, nms_score_threshold=threshold)
    build.op("TFLite_Detection_PostProcess", [boxes, scores, anchors], results, custom=custom)
    pairs = both(build.save(results, tmp_path / "m.tflite"), build.feeds)
    count = int(pairs[3][0][0])
    assert count == int(pairs[3][1][0])
    for expected, got in pairs[:3]:
        np.testing.assert_allclose(got[:, :count], expected[:, :count], rtol=1e-5, atol=1e-5)
