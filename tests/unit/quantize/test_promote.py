"""A layer that eight bits cannot hold is found among healthy ones, left in float, and said; a healthy model keeps none."""

from __future__ import annotations

import numpy as np

from bessemer.ir.model import Model
from bessemer.quantize.levels import Quantize
from bessemer.quantize.promote import AIM, LEAST, MOST
from bessemer.quantize.stage import quantize

from .nets import images, model_of

GATED = """
net (float[1,3,16,16] x) => (float[1,8,16,16] y) {
  a = Conv<pads=[1,1,1,1]>(x, w0)
  ar = Relu(a)
  b = Conv(ar, w1)
  gate = Sigmoid(b)
  c = Mul(b, gate)
  d = Conv<pads=[1,1,1,1], group=8>(c, w2)
  dr = Relu(d)
  e = Conv<pads=[1,1,1,1]>(dr, w3)
  er = Relu(e)
  y = Conv<pads=[1,1,1,1]>(er, w4)
}
"""


def gated(outlier: float) -> Model:
    """`outlier`: how much larger one channel of the gated layer is, which the layer behind undoes."""
    rng = np.random.default_rng(3)
    shapes = {"w0": (16, 3, 3, 3), "w1": (8, 16, 1, 1), "w2": (8, 1, 3, 3), "w3": (16, 8, 3, 3), "w4": (8, 16, 3, 3)}
    weights = {
        name: (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
        for name, shape in shapes.items()
    }
    weights["w1"][3] *= outlier
    weights["w2"][3] /= outlier
    return model_of(GATED, weights)


def test_what_cannot_be_held_in_eight_bits_stays_float() -> None:
    asked = Quantize(level=0, method="minmax")
    made, record = quantize(gated(3000), asked, images(16))
    plain = max(trial.snr for trial in record.trials if not trial.floats)
    assert plain < LEAST, "or there is nothing to mend"
    assert record.snr > AIM
    kept = {name for name, reason in record.floats if "suffer from most" in reason}
    assert {node.name for node in made.graph.graph if node.op_type == "Sigmoid"} <= kept
    assert record.float_macs is not None and 0 < record.float_macs <= MOST
    assert any("compute in float" in note and f"{plain:.1f} dB" in note for note in record.notes)


def test_nothing_is_left_in_float_where_it_is_not_wanted_or_not_needed() -> None:
    for how, outlier in ((Quantize(level=0, promote=False), 3000), (Quantize(level=-100), 3000), (Quantize(level=0), 1)):
        _, record = quantize(gated(outlier), how, images(16))
        assert not [reason for _, reason in record.floats if "suffer from most" in reason]
        assert not any(trial.floats for trial in record.trials)
