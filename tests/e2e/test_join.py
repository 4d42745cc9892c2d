"""Joined models against their originals, piped in their own runtimes; what is refused, with the candidates."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.unit.sources.tflite.single import Builder, scaled

import bessemer as bm
from bessemer.ir.errors import UnreadableInput, UsageError

from .conftest import Run, save

W = {"w": np.linspace(-1, 1, 16, dtype=np.float32).reshape(4, 4)}
FRONT = "front (float[N, 4] x) => (float[N, 4] h) { a = MatMul (x, w) h = Relu (a) }"
BACK = "back (float[M, 4] h) => (float[M, 4] y) { a = Sigmoid (h) y = Add (a, h) }"


def run_onnx(path: Path, fed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """By ONNX Runtime alone."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path))
    return dict(zip([item.name for item in session.get_outputs()], session.run(None, fed), strict=True))


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Two models whose border has one name, and whose inner values and sizes have, too."""
    return save(tmp_path / "front.onnx", FRONT, W), save(tmp_path / "back.onnx", BACK)


def test_a_chain_by_names(bessemer: Run, pair: tuple[Path, Path]) -> None:
    done = bessemer("join", *pair, "--out", "both.onnx")
    assert done.returncode == 0, done.stderr
    assert "wire: back:h = front:h" in done.stdout
    folder = pair[0].parent
    x = np.random.default_rng(1).standard_normal((3, 4)).astype(np.float32)
    expected = run_onnx(pair[1], run_onnx(pair[0], {"x": x}))
    got = run_onnx(folder / "both.onnx", {"x": x})
    assert list(got) == ["y"]
    np.testing.assert_allclose(got["y"], expected["y"], rtol=1e-6)
    assert sorted(item.name for item in folder.iterdir()) == ["back.onnx", "both.join", "both.onnx", "front.onnx"]
    record = json.loads(bessemer("inspect", "both.join", "--json").stdout)
    assert [item["shape"] for item in (*record["inputs"], *record["outputs"])] == [["N", 4], ["N", 4]], "one batch"


def test_a_plan_is_a_model(bessemer: Run, pair: tuple[Path, Path]) -> None:
    """Converted again, cut by names of its members, verified against the chain."""
    assert bessemer("join", *pair, "--to", "onnx", "--to", "tflite", "--out", "made").returncode == 0
    done = bessemer("convert", "made/joined.join", "--outputs", "front:a", "--to", "ort", "--out", "cut")
    assert done.returncode == 0, done.stdout + done.stderr
    assert bessemer("verify", "made/joined.tflite", "--against", "made/joined.join").returncode == 0
    wrong = bessemer("verify", pair[0], "--against", "made/joined.join")
    assert wrong.returncode == 4
    save(pair[0], FRONT.replace("Relu", "Neg"), W)
    changed = bessemer("convert", "made/joined.join", "--to", "onnx")
    assert changed.returncode == 2
    assert "is not the file that made/joined.join was made of" in changed.stderr


def test_by_the_only_assignment_that_fits(tmp_path: Path) -> None:
    two = "two (float[2, 4] x) => (float[2, 4] p, int64[2] q) { p = Relu (x) q = ArgMax <axis = 1, keepdims = 0> (x) }"
    take = """take (int64[2] places, float[2, 4] rows) => (float[2, 4] y) {
        f = Cast <to = 1> (places) u = Unsqueeze (f, o) y = Add (rows, u) }"""
    first = save(tmp_path / "two.onnx", two)
    second = save(tmp_path / "take.onnx", take, {"o": np.array([1])})
    evidence = bm.join([first, second], tmp_path / "out.onnx")
    assert evidence.targets[0].verified
    assert [item.name for item in evidence.source.inputs] == ["x"]


def test_several_assignments_are_an_error_that_lists_them(tmp_path: Path) -> None:
    first = save(tmp_path / "a.onnx", "a (float[2] x) => (float[2] p, float[2] q) { p = Relu (x) q = Neg (x) }")
    second = save(tmp_path / "b.onnx", "b (float[2] u) => (float[2] y) { y = Abs (u) }")
    with pytest.raises(UsageError, match=r"2 assignments fit.*a:p: float32\[2\].*a:q.*b:u.*--map b:u=a:OUTPUT"):
        bm.join([first, second], tmp_path / "out.onnx")
    evidence = bm.join([first, second], tmp_path / "out.onnx", maps={"B:u": "A:q"})
    assert evidence.targets[0].verified
    assert [item.name for item in evidence.source.outputs] == ["p", "y"], "an output that nobody reads stays one"
    got = run_onnx(tmp_path / "out.onnx", {"x": np.array([1, -2], np.float32)})
    np.testing.assert_array_equal(got["y"], [1, 2])


def test_side_by_side_with_shared_inputs(tmp_path: Path) -> None:
    first = save(tmp_path / "a.onnx", "a (float[N, 4] x) => (float[N, 4] y) { h = Relu (x) y = Neg (h) }")
    second = save(tmp_path / "b.onnx", "b (float[N, 4] x, float[4] z) => (float[N, 4] y) { h = Abs (x) y = Add (h, z) }")
    evidence = bm.join([first, second], tmp_path / "out", to=["onnx", "tflite"], share=True)
    assert all(row.verified for row in evidence.targets)
    assert [item.name for item in evidence.source.inputs] == ["x", "z"]
    assert [item.name for item in evidence.source.outputs] == ["a/y", "b/y"]
    with pytest.raises(UsageError, match="finds no two inputs of one name"):
        bm.join([first, save(tmp_path / "c.onnx", FRONT.replace("x", "u"), W)], tmp_path / "c.out", to="onnx", share=True)
    mapped = bm.join([first, tmp_path / "c.onnx"], tmp_path / "d", to="onnx", maps=["c:u=a:x"])
    assert [item.name for item in mapped.source.inputs] == ["x"]
    assert mapped.targets[0].verified


def test_types_that_differ_need_a_word(tmp_path: Path) -> None:
    first = save(tmp_path / "a.onnx", "a (float[2] x) => (double[2] p) { p = Cast <to = 11> (x) }")
    second = save(tmp_path / "b.onnx", "b (float[2] p) => (float[2] y) { y = Relu (p) }")
    with pytest.raises(UsageError, match=r"float64 and float32.*--map b:p=a:p,cast"):
        bm.join([first, second], tmp_path / "out.onnx")
    assert bm.join([first, second], tmp_path / "out.onnx", maps=["b:p=a:p,cast"]).targets[0].verified


def channels_last(path: Path, size: tuple[int, int, int], name: str = "RELU") -> Path:
    """A TFLite file over [1, height, width, channels]."""
    build = Builder()
    x = build.input(np.zeros((1, *size)))
    out = build.tensor((1, *size))
    build.op(name, [x], [out])
    return build.save([out], path)


def convolution(path: Path, size: tuple[int, int, int]) -> Path:
    """An ONNX convolution over [1, channels, height, width]."""
    channels, height, width = size
    dims = f"1, {channels}, {height}, {width}"
    weight = np.random.default_rng(3).standard_normal((2, channels, 1, 1)).astype(np.float32)
    text = f"conv (float[{dims}] image) => (float[1, 2, {height}, {width}] y) {{ y = Conv (image, w) }}"
    return save(path, text, {"w": weight})


def test_channels_last_into_channels_first(bessemer: Run, tmp_path: Path) -> None:
    """TFLite into ONNX: a Transpose where the sizes say so, a question where they do not."""
    front, back = channels_last(tmp_path / "f.tflite", (5, 6, 3)), convolution(tmp_path / "b.onnx", (3, 5, 6))
    done = bessemer("join", front, back, "--out", "both.onnx")
    assert done.returncode == 0, done.stderr
    assert "wire: b:image = f:t0_1, axes 0:3:1:2" in done.stdout
    assert bessemer("join", front, back, "--out", "both.tflite").returncode == 0
    back = convolution(tmp_path / "c.onnx", (3, 3, 3))
    front = channels_last(tmp_path / "g.tflite", (3, 3, 3))
    asked = bessemer("join", front, back, "--out", "cubes.onnx")
    assert asked.returncode == 2
    assert "fits c:image: float32[1, 3, 3, 3] in more than one order" in asked.stderr
    assert not (tmp_path / "cubes.join").exists()
    x = np.random.default_rng(8).standard_normal((1, 3, 3, 3)).astype(np.float32)
    for order, perm in (("nchw", (0, 3, 1, 2)), ("same", (0, 1, 2, 3)), ("0:2:3:1", (0, 2, 3, 1))):
        told = bessemer("join", front, back, "--map", f"c:image=g:t0_1,order={order}", "--out", "cubes.onnx")
        assert told.returncode == 0, told.stderr
        expected = run_onnx(back, {"image": np.ascontiguousarray(np.maximum(x, 0).transpose(perm))})
        np.testing.assert_allclose(run_onnx(tmp_path / "cubes.onnx", {"t0_0": x})["y"], expected["y"], atol=1e-5)


def test_what_cannot_be_meant(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    front, back = pair
    tell = tmp_path / "out.onnx"
    for maps, said in (
        (["back:nothing=front:h"], r"names no input and no output.*back takes h"),
        (["front:x=back:y"], "does not stand before"),
        (["back:h=front:h", "back:h=front:x"], "feeds back:h twice"),
        (["back:h=front:h,order=0:2"], "is no order of 2 axes"),
    ):
        with pytest.raises(UsageError, match=said):
            bm.join([front, back], tell, maps=maps)
    for models, out, said in (
        ([front], tell, "nothing to join"),
        ([front, back], tmp_path / "dir", "no target is named"),
        ([front, back], tmp_path / "x.docx", "No target writes"),
    ):
        with pytest.raises(UsageError, match=said):
            bm.join(models, out)
    assert not list(tmp_path.glob("*.join"))


def test_weights_beside_a_member_stay_on_disk(tmp_path: Path) -> None:
    """External data of both members is mapped where it lies, and streamed into the artifact's own."""
    import onnx

    paths = []
    for name, text in (("front", FRONT), ("back", BACK.replace("Sigmoid (h)", "MatMul (h, w)"))):
        path = save(tmp_path / f"{name}.onnx", text, {"w": np.eye(4, dtype=np.float32) * len(name)})
        onnx.save(onnx.load(path), path, save_as_external_data=True, location=f"{name}.data", size_threshold=0)
        paths.append(path)
    evidence = bm.join(paths, tmp_path / "made" / "both.onnx", to="onnx:external_data=always")
    assert evidence.targets[0].verified
    assert len(evidence.targets[0].files) == 2
    import onnx_ir

    model = bm.load(tmp_path / "made" / "both.join")
    held = [value.const_value for value in model.graph.graph.initializers.values()]
    assert [type(item) for item in held if item is not None and item.size == 16] == [onnx_ir.ExternalTensor] * 2


def test_hostile_plans_are_unreadable(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    bm.join(pair, tmp_path / "both.onnx")
    plan = json.loads((tmp_path / "both.join").read_text())
    cases = [
        {**plan, "bessemer_join": 2},
        {**plan, "more": 1},
        {**plan, "wires": [*plan["wires"], *plan["wires"]]},
        {**plan, "models": [plan["models"][1], plan["models"][0]]},
        {**plan, "models": [plan["models"][0], plan["models"][0]]},
        {**plan, "outputs": [{"name": "y", "place": {"model": "back", "tensor": "none"}}]},
        {**plan, "outputs": []},
        {**plan, "wires": [{**plan["wires"][0], "order": [7, 7]}]},
        {**plan, "wires": [{**plan["wires"][0], "cast": "object"}]},
        {**plan, "wires": [{**plan["wires"][0], "output": None}]},
    ]
    for case in cases:
        path = tmp_path / "hostile.join"
        path.write_text(json.dumps(case))
        with pytest.raises(UnreadableInput):
            bm.load(path)


def test_a_float_front_end_and_a_real_classifier(real_asset: Callable[[str], Path], tmp_path: Path) -> None:
    """Pixels to logits in one file: preprocessing is a chain like any other."""
    model = real_asset("imagenet_classifiers/squeezenet1.1_fp32_webnn.onnx")
    text = """pixels (uint8[N, 224, 224, 3] rgb) => (float[N, 3, 224, 224] image) {
        f = Cast <to = 1> (rgb)
        s = Div (f, span)
        m = Sub (s, mean)
        d = Div (m, deviation)
        image = Transpose <perm = [0, 3, 1, 2]> (d)
    }"""
    held = {"span": np.float32([255]), "mean": np.float32([0.485, 0.456, 0.406])}
    held["deviation"] = np.float32([0.229, 0.224, 0.225])
    front = save(tmp_path / "pixels.onnx", text, held)
    evidence = bm.join([front, model], tmp_path / "whole.tflite")
    assert evidence.targets[0].verified, evidence.targets[0].summary
    assert evidence.source.inputs[0].dtype == "uint8"


def test_integers_are_joined_as_the_reals_that_they_mean(tmp_path: Path) -> None:
    """An int8 TFLite front, a float ONNX middle and the int8 file again: dequantized on one wire, quantized on the next."""
    build = Builder()
    x = build.input(np.zeros((2, 4)), "int8", quantization=scaled(0.1, 3))
    out = build.tensor((2, 4), "int8", quantization=scaled(0.1, 3))
    build.op("RELU", [x], [out])
    ends = build.save([out], tmp_path / "ends.tflite")
    middle = save(tmp_path / "middle.onnx", "middle (float[2, 4] h) => (float[2, 4] y) { y = Sqrt (h) }")
    with pytest.raises(UsageError, match=r"int8 and float32.*,real for what the integers stand for"):
        bm.join([ends, middle], tmp_path / "out.onnx", maps=["B:h=A:t0_1"])
    maps = ["B:h=A:t0_1,real", "C:t0_0=B:y,real"]
    (row,) = bm.join([ends, middle, ends], tmp_path / "out.onnx", maps=maps, bound="steps(1)").targets
    assert row.verified, row.summary
    fed = np.array([[-100, 3, 13, 43], [3, 103, 4, 0]], np.int8)
    reals = np.sqrt(np.maximum(fed.astype(np.float32) - 3, 0) * np.float32(0.1))
    (got,) = run_onnx(tmp_path / "out.onnx", {"t0_0": fed}).values()
    assert np.abs(got.astype(int) - (np.rint(reals / 0.1) + 3)).max() <= 1
    with pytest.raises(UsageError, match="of the right type as it is"):
        bm.join([middle, middle], tmp_path / "no.onnx", maps=["B:h=A:y,real"])


def test_integers_of_another_scale_are_not_passed_on_as_they_are(tmp_path: Path) -> None:
    paths = []
    for name, scale in (("fine", 0.05), ("coarse", 0.2)):
        build = Builder()
        x = build.input(np.zeros((1, 4)), "int8", quantization=scaled(scale))
        out = build.tensor((1, 4), "int8", quantization=scaled(scale))
        build.op("RELU", [x], [out])
        paths.append(build.save([out], tmp_path / f"{name}.tflite"))
    with pytest.raises(UsageError, match="integers stand for different reals"):
        bm.join(paths, tmp_path / "out.tflite")
    (row,) = bm.join(paths, tmp_path / "out.tflite", maps=["B:t0_0=A:t0_1,real"], bound="exact or steps(1)").targets
    assert row.verified, row.summary
    (row,) = bm.join(paths, tmp_path / "raw.onnx", maps=["B:t0_0=A:t0_1,cast"]).targets
    assert row.verified, row.summary
