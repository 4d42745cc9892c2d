"""Random torch modules through torch.export, beside torch itself: a few of the thousands that bench/random_torch.py runs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")

sys.path.insert(0, str(Path(__file__).parent))

from torch_modules import departures, drawn

from bessemer.ir.errors import Declined

ORT = range(5000, 5016)
TFLITE = range(6000, 6007)


@pytest.mark.slow
@pytest.mark.parametrize(("target", "seeds"), [("ort", ORT), ("tflite", TFLITE)])
def test_modules_answer_as_torch_does(target: str, seeds: range, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime" if target == "ort" else "ai_edge_litert")
    wrong: list[str] = []
    declined = 0
    for seed in seeds:
        item = drawn(seed)
        try:
            told = departures(item, target, tmp_path, 1e-4 if target == "ort" else 5e-4)
        except Declined:
            declined += 1
            continue
        if told:
            wrong.append(f"{seed}: {told} in {item.text}")
    assert not wrong, "\n".join(wrong)
    assert declined <= len(seeds) // 4


def test_a_seed_is_a_module() -> None:
    assert drawn(7).text == drawn(7).text
    assert len({drawn(seed).text for seed in range(60)}) > 55
