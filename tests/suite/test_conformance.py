"""The ONNX standard's node tests through the targets: nothing wrong, nothing crashes, every decline is recorded."""

from __future__ import annotations

import os
from collections import Counter

import pytest

from bessemer.conformance import gaps
from bessemer.conformance.run import run_all

REQUIRED = {"onnx": 1700, "ort": 1690, "tflite": 1000, "torch": 1770}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("target", REQUIRED)
def test_the_standard_through_a_target(target: str) -> None:
    if target == "torch":
        pytest.importorskip("torch")
    outcomes = run_all(target, jobs=min(4, os.cpu_count() or 2))
    bad = [outcome for outcome in outcomes if outcome.verdict in ("wrong", "crash")]
    assert not bad, bad[:10]
    assert Counter(outcome.verdict for outcome in outcomes)["verified"] >= REQUIRED[target]
    local = {name for name, reason in gaps.read(target).items() if "locale" in reason}  # of the machine
    declined = {outcome.name for outcome in outcomes if outcome.verdict == "declined"} - local
    recorded = set(gaps.read(target)) - local
    assert declined == recorded, {
        "new gaps": sorted(declined - recorded),
        "closed": sorted(recorded - declined),
    }
    assert all(gaps.read(target).values()), "every decline has its reason"
