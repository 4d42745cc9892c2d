"""Generated inputs: sets, shapes, bounds, reproducibility."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from bessemer.ir.canonical import SIZES_KEY
from bessemer.ir.signature import Signature, TensorSpec
from bessemer.verify.inputs import Bounds, declared_sizes, generate, vocabulary_bounds

IMAGE = Signature((TensorSpec("x", "float32", (1, 3, 4, 4)),), ())


def test_three_sets_including_extremes_and_the_same_again_for_the_same_seed() -> None:
    first, again, other = (generate(IMAGE, seed=seed, bounds={}) for seed in (7, 7, 8))
    assert len(first) == 3
    assert any("extremes" in item.title for item in first)
    for a, b, c in zip(first, again, other, strict=True):
        assert np.array_equal(a.arrays["x"], b.arrays["x"])
        assert not np.array_equal(a.arrays["x"], c.arrays["x"])


def test_dynamic_dims_get_two_shapes_and_equal_symbols_equal_sizes() -> None:
    signature = Signature(
        (TensorSpec("a", "float32", ("N", "L")), TensorSpec("b", "float32", ("N", "L", None))), ()
    )
    sets = generate(signature, seed=0, bounds={})
    shapes = {item.arrays["a"].shape for item in sets}
    assert len(shapes) == 2
    assert all(item.arrays["a"].shape == item.arrays["b"].shape[:2] for item in sets)


def test_integers_stay_inside_the_vocabulary_that_an_embedding_tells() -> None:
    model = ir.from_onnx_text(
        '<ir_version: 10, opset_import: ["": 21]> g (int64[1,5] ids) => (float[1,5,2] y)'
        "<float[3,2] table = {0,1,2,3,4,5}> { wide = Cast<to = 6>(ids) y = Gather(table, wide) }"
    )
    bounds = vocabulary_bounds(model.graph)
    assert bounds == {"ids": Bounds(0, 3)}
    signature = Signature((TensorSpec("ids", "int64", (1, 500)),), ())
    drawn = np.concatenate([s.arrays["ids"].ravel() for s in generate(signature, seed=0, bounds=bounds)])
    assert set(drawn.tolist()) == {0, 1, 2}


def test_bytes_cover_their_whole_range() -> None:
    signature = Signature((TensorSpec("x", "uint8", (4000,)), TensorSpec("y", "int8", (4000,))), ())
    arrays = generate(signature, seed=0, bounds={})[0].arrays
    assert (arrays["x"].min(), arrays["x"].max()) == (0, 255)
    assert (arrays["y"].min(), arrays["y"].max()) == (-128, 127)


def test_tokens_masks_and_positions_go_with_one_another() -> None:
    """As a causal language model with kept keys and values is fed: padding on the left, positions behind it."""
    whole = "past + now"
    signature = Signature(
        (
            TensorSpec("input_ids", "int64", ("b", "now")),
            TensorSpec("attention_mask", "int64", ("b", whole)),
            TensorSpec("position_ids", "int64", ("b", "now")),
            TensorSpec("past_key_values.0.key", "float32", ("b", 2, "past", 4)),
        ),
        (),
    )
    sets = generate(signature, seed=0, bounds={"input_ids": Bounds(0, 9)})
    lengths = {(item.arrays["past_key_values.0.key"].shape[2], item.arrays["input_ids"].shape[1]) for item in sets}
    assert {past for past, _ in lengths} >= {0} and {now for _, now in lengths} >= {1}
    for item in sets:
        mask, places = item.arrays["attention_mask"], item.arrays["position_ids"]
        past, now = item.arrays["past_key_values.0.key"].shape[2], places.shape[1]
        assert mask.shape[1] == past + now
        assert (np.diff(mask, axis=1) >= 0).all() and mask[:, -1].all()
        assert np.array_equal(places[:, -1], mask.sum(axis=1) - 1)
    assert sets[0].arrays["attention_mask"].all()
    assert any(not item.arrays["attention_mask"].all() for item in sets)


def test_encoders_are_padded_on_the_right() -> None:
    specs = (TensorSpec("input_ids", "int64", ("b", "s")), TensorSpec("attention_mask", "int64", ("b", "s")))
    sets = generate(Signature(specs, ()), seed=0, bounds={})
    assert all((np.diff(item.arrays["attention_mask"], axis=1) <= 0).all() for item in sets)
    assert all(item.arrays["attention_mask"][:, 0].all() for item in sets)
    assert any(not item.arrays["attention_mask"].all() for item in sets)


def test_positions_stay_inside_their_table() -> None:
    specs = (TensorSpec("input_ids", "int64", (1, 40)), TensorSpec("position_ids", "int64", (1, 40)))
    sets = generate(Signature(specs, ()), seed=0, bounds={"position_ids": Bounds(0, 16)})
    assert all(item.arrays["position_ids"].max() == 15 for item in sets)


def test_sizes_that_a_source_declares_are_used() -> None:
    model = ir.from_onnx_text(
        '<ir_version: 10, opset_import: ["": 21]> g (float[b,3,h,w] x) => (float[b,3,h,w] y) { y = Relu(x) }'
    )
    model.graph.inputs[0].meta[SIZES_KEY] = {2: (64, 96), 3: (48, 72)}
    limits = declared_sizes(model.graph)
    signature = Signature((TensorSpec("x", "float32", ("b", 3, "h", "w")),), ())
    shapes = {item.arrays["x"].shape[2:] for item in generate(signature, seed=0, bounds={}, limits=limits)}
    assert shapes == {(64, 48), (96, 72)}
