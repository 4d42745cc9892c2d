"""Integer inputs get numbers that mean something where they go."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from bessemer.ir.signature import Signature, TensorSpec
from bessemer.verify.inputs import generate, vocabulary_bounds


def drawn(text: str, **shapes: tuple[int, ...]) -> list[dict[str, np.ndarray]]:
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]>\n{text}')
    graph = ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(model)).graph
    signature = Signature(tuple(TensorSpec(name, "int64", shape) for name, shape in shapes.items()), ())
    sets = generate(signature, seed=0, bounds=vocabulary_bounds(graph))
    return [item.arrays for item in sets]


@pytest.mark.parametrize("op", ["Expand", "Reshape"])
def test_a_shape_is_the_one_that_the_output_declares(op: str) -> None:
    sets = drawn(f"g (float[2, 1] x, int64[2] s) => (float[2, 1] y) {{ y = {op} (x, s) }}", s=(2,))
    assert all(arrays["s"].tolist() == [2, 1] for arrays in sets)


def test_a_size_that_is_computed_with_comes_from_the_outputs_and_is_never_zero() -> None:
    text = """g (int64[2] s) => (float[1, 7, 7] y) {
        one = Constant <value = int64[1] {1}> ()
        whole = Concat <axis = 0> (one, s)
        y = ConstantOfShape (whole)
    }"""
    assert all(arrays["s"].tolist() == [7, 7] for arrays in drawn(text, s=(2,)))


@pytest.mark.parametrize("op", ["Div", "Mod"])
def test_nothing_is_divided_by_zero(op: str) -> None:
    sets = drawn(f"g (int64[50] x, int64[50] d) => (int64[50] y) {{ y = {op} (x, d) }}", d=(50,))
    assert all(arrays["d"].min() >= 1 for arrays in sets)


def test_no_place_is_updated_twice() -> None:
    text = """g (float[6, 3] x, int64[4, 3] i, float[4, 3] u) => (float[6, 3] y) {
        y = ScatterElements <axis = 0> (x, i, u)
    }"""
    for arrays in drawn(text, i=(4, 3)):
        assert all(len(set(column)) == 4 for column in arrays["i"].T.tolist())
        assert 0 <= arrays["i"].min() <= arrays["i"].max() < 6


def test_updates_that_add_up_may_meet() -> None:
    text = """g (float[2, 3] x, int64[2, 3] i, float[2, 3] u) => (float[2, 3] y) {
        y = ScatterElements <axis = 0, reduction = "add"> (x, i, u)
    }"""
    assert any(len(set(column)) == 1 for arrays in drawn(text, i=(2, 3)) for column in arrays["i"].T.tolist())


def test_a_named_sum_follows_its_terms() -> None:
    specs = (
        TensorSpec("mask", "float32", ("batch", "past + now")),
        TensorSpec("past", "float32", ("batch", "past")),
        TensorSpec("x", "float32", ("batch", "now", 4)),
        TensorSpec("longer", "float32", ("batch", "now + 1")),
    )
    for item in generate(Signature(specs, ()), seed=0, bounds={}):
        shapes = {name: array.shape for name, array in item.arrays.items()}
        assert shapes["mask"][1] == shapes["past"][1] + shapes["x"][1]
        assert shapes["longer"][1] == shapes["x"][1] + 1
