"""The terminal report fits its terminal, and says verified only of what is."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from bessemer.report import terminal
from bessemer.verify.evidence import Evidence


def rendered(item: object, width: int = 80, colour: bool = False) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=colour, highlight=False)
    console.print(item)
    return stream.getvalue()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_it_fits(sample: Evidence, width: int) -> None:
    text = rendered(terminal.evidence(sample), width)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    for expected in ("onnx float32", "✓ verified", "✗ failed", "– declined", "mobilenetv2.onnx"):
        assert expected in text


def test_a_pipe_gets_no_colours(sample: Evidence) -> None:
    assert "\x1b" not in rendered(terminal.evidence(sample))
    assert "\x1b" in rendered(terminal.evidence(sample), colour=True)


def test_only_verified_rows_say_so(sample: Evidence) -> None:
    for row in sample.targets:
        text = rendered(terminal.evidence(sample.model_copy(update={"targets": [row]})))
        assert ("verified" in text) == row.verified


def test_names_in_a_model_are_no_markup(sample: Evidence) -> None:
    assert "[red]x[/red]" in rendered(terminal.evidence(sample), 120)


def test_every_blocker_has_its_reason_and_layer(sample: Evidence) -> None:
    text = " ".join(rendered(terminal.evidence(sample), 200).split())
    for blocker in sample.targets[2].blockers:
        assert blocker.reason in text
        assert blocker.rule in text
        assert blocker.layer in text
        assert blocker.rewrite in text


def test_the_first_divergence_is_named(sample: Evidence) -> None:
    text = rendered(terminal.evidence(sample), 120)
    assert "'conv_12_out' (Conv, layer 'block5/conv')" in text


def test_inspect_shows_the_facts(sample: Evidence) -> None:
    text = rendered(terminal.model(sample.source))
    for expected in ("3,487,816", "300.8 M", "N×1280×?×7", "BatchNormalization", "156 nodes", "pytorch 1.3"):
        assert expected in text


def test_comparison_lists_every_output(sample: Evidence) -> None:
    text = rendered(terminal.comparison(sample.targets[0]))
    assert "logits" in text
    assert "features" in text
    assert "127.4 dB" in text


def test_rows_that_share_a_title_show_their_difference(sample: Evidence) -> None:
    first = sample.targets[0]
    second = first.model_copy(update={"options": first.options | {"opset": "17"}})
    text = rendered(
        terminal.evidence(sample.model_copy(update={"targets": [first, second, sample.targets[1]]})), 120
    )
    for title in ("onnx float32 opset=12 ", "onnx float32 opset=17 ", "tflite float16 "):
        assert title in text
