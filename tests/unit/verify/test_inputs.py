"""Generated inputs: sets, shapes, bounds, reproducibility."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from bessemer.ir.signature import Signature, TensorSpec
from bessemer.verify.inputs import Bounds, generate, vocabulary_bounds

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
