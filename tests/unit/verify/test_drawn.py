"""Random outputs: found through the graph, compared by distribution."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from bessemer.verify.closeness import Closeness
from bessemer.verify.compare import Tally
from bessemer.verify.drawn import drawn_outputs, same_distribution


def graph(text: str) -> ir.Graph:
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]>\n{text}')
    return ir.serde.deserialize_model(model).graph


def test_what_depends_on_a_draw_is_drawn() -> None:
    text = """g (float[4] x, bool c) => (float[4] a, float[4] b, float[4] d) {
        r = RandomNormalLike (x)
        a = Add (r, x)
        b = Neg (x)
        d = If (c) <then_branch = t () => (float[4] p) { p = RandomUniformLike (x) },
                    else_branch = e () => (float[4] q) { q = Identity (x) }>
    }"""
    assert drawn_outputs(graph(text)) == {"a", "d"}


def test_one_distribution() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 40, 50))
    assert same_distribution(a, b)
    assert not same_distribution(a, b + 0.5)
    assert not same_distribution(a, b * 2)
    assert not same_distribution(a, rng.standard_normal(2000))
    assert same_distribution(a > 0.3, b > 0.3)
    assert not same_distribution(a > 0.3, b > 0)
    assert not same_distribution(np.array(["a"], object), np.array(["a"], object))


@pytest.mark.parametrize("drawn", [True, False])
def test_only_a_drawn_output_may_differ_in_values(drawn: bool) -> None:
    tally = Tally(Closeness.parse("exact"), drawn=drawn)
    a, b = np.random.default_rng(0).random((2, 500))
    tally.add(a, b)
    assert tally.within is drawn


def test_sequences_and_optionals_are_compared_item_by_item() -> None:
    bound = Closeness.parse("close(1e-6, 1e-6)")
    one, two = np.ones(3, np.float32), np.full(3, 2, np.float32)
    for ref, got, within in (
        ([one, two], [one, two], True),
        ([one, two], [two, one], False),
        ([one], [one, two], False),
        (None, None, True),
        (None, one, False),
        ([[one]], [[one]], True),
        (one, [one], False),
    ):
        tally = Tally(bound)
        tally.add(ref, got)
        assert tally.within is within, (ref, got)
        assert tally.record("y").within is within
