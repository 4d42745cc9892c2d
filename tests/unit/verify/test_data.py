"""The user's data: images by declared preprocessing, labels by name, integers by the input's own scale."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bessemer.ir.encoding import Encoding
from bessemer.ir.errors import UnreadableInput, UsageError
from bessemer.ir.signature import Signature, TensorSpec
from bessemer.ir.types import Array
from bessemer.verify.data import Request, load
from bessemer.verify.preprocess import Preprocess


def takes(dtype: str, *shape: int | str | None) -> Signature:
    return Signature((TensorSpec("x", dtype, shape),), ())


def picture(path: Path, height: int = 20, width: int = 30, seed: int = 0) -> Array:
    """A lossless image file of random pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def the_input(path: Path, signature: Signature, how: str = "", encoding: Encoding | None = None) -> Array:
    """The whole of the one input."""
    said = Preprocess.parse(how) if how else None
    found = load(Request(path, said), signature, {"x": encoding} if encoding else {})
    return np.concatenate([item.arrays["x"] for item in found.sets])


def test_a_uint8_input_gets_the_pixels_as_they_are(tmp_path: Path) -> None:
    pixels = picture(tmp_path / "a.png")
    assert np.array_equal(the_input(tmp_path / "a.png", takes("uint8", 1, 20, 30, 3))[0], pixels)
    planes = the_input(tmp_path / "a.png", takes("uint8", 1, 3, 20, 30), "order=bgr")[0]
    assert np.array_equal(planes, pixels[..., ::-1].transpose(2, 0, 1))


def test_the_three_well_known_normalisations(tmp_path: Path) -> None:
    """By the formulas of keras.applications.imagenet_utils.preprocess_input."""
    pixels = picture(tmp_path / "a.png").astype(np.float64)
    last = takes("float32", 1, 20, 30, 3)
    torch = (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    caffe = pixels[..., ::-1] - [103.939, 116.779, 123.68]
    for name, wanted in (("tf", pixels / 127.5 - 1), ("torch", torch), ("caffe", caffe), ("raw", pixels)):
        assert np.allclose(the_input(tmp_path / "a.png", last, name)[0], wanted, atol=1e-4), name
    first = takes("float32", "N", 3, "H", "W")
    assert np.allclose(
        the_input(tmp_path / "a.png", first, "torch,crop=20x30")[0], torch.transpose(2, 0, 1), atol=1e-5
    )


def test_resize_crop_and_filter_are_pillows(tmp_path: Path) -> None:
    pixels = picture(tmp_path / "a.png", 40, 60)
    image = Image.fromarray(pixels)
    short = np.asarray(image.resize((48, 32), Image.Resampling.BICUBIC))[4:28, 12:36]
    found = the_input(tmp_path / "a.png", takes("uint8", 1, 24, 24, 3), "resize=32,crop=24,filter=bicubic")
    assert np.array_equal(found[0], short)
    squashed = np.asarray(image.resize((16, 8), Image.Resampling.BILINEAR))
    assert np.array_equal(the_input(tmp_path / "a.png", takes("uint8", 1, 8, 16, 3), "resize=8x16")[0], squashed)


def test_one_channel_is_grey(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 28, 28)
    grey = np.asarray(Image.open(tmp_path / "a.png").convert("L"), np.float32)
    for shape in ((1, 1, 28, 28), (1, 28, 28, 1), (1, 28, 28)):
        assert np.array_equal(the_input(tmp_path / "a.png", takes("float32", *shape), "raw").reshape(28, 28), grey)


def test_declared_real_values_are_quantized_as_onnx_runtime_does(tmp_path: Path) -> None:
    import onnx
    import onnxruntime as ort
    from onnx import parser

    pixels = picture(tmp_path / "a.png")
    encoding = Encoding("INT8", np.float32(0.0157), np.int8(-3))
    model = parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> g (float[1,20,30,3] x) => (int8[1,20,30,3] y) '
        "<float s = {0.0157}, int8 z = {-3}> { y = QuantizeLinear(x, s, z) }"
    )
    session = ort.InferenceSession(onnx.ModelProto.SerializeToString(model))
    real = (pixels.astype(np.float32) / np.float32(127.5) - np.float32(1))[None]
    found = the_input(tmp_path / "a.png", takes("int8", 1, 20, 30, 3), "tf", encoding)
    assert np.array_equal(found, session.run(None, {"x": real})[0])


def test_arrays_of_real_values_are_quantized_and_the_report_says_so(tmp_path: Path) -> None:
    encoding = Encoding("UINT8", np.float32(0.5), np.uint8(10))
    np.save(tmp_path / "a.npy", np.float32([[0, 1, -5], [3, 2.4, 9]]))
    found = load(Request(tmp_path / "a.npy"), takes("uint8", 1, 3), {"x": encoding})
    assert [item.arrays["x"].tolist() for item in found.sets] == [[[10, 12, 0]], [[16, 15, 28]]]
    assert "scale 0.5, zero point 10" in found.notes[0]
    np.save(tmp_path / "a.npy", np.float32([[0, 100, 200], [300, 400, 500]]))
    with pytest.raises(UsageError, match=r"outside what the input can hold.*from -5 to 122\.5"):
        load(Request(tmp_path / "a.npy"), takes("uint8", 1, 3), {"x": encoding})


@pytest.mark.parametrize(
    ("signature", "how", "said"),
    [
        (takes("int8", 1, 20, 30, 3), "", "do not fit the int8 input.*no scale"),
        (takes("uint8", 1, 20, 30, 3), "tf", "takes integers and the model gives them no scale"),
        (takes("float32", 1, 20, 30, 5), "", "does not tell where its colour channels stand.*layout=nchw"),
        (takes("float32", 1, 3, 20, 3), "", "both axes could hold them"),
        (takes("float32", 1, 3, "H", "W"), "", "fixes no image size"),
        (takes("float32", 1, 3, 20, 30), "crop=200", "too small for crop=200x200"),
        (takes("float32", 1, 3, 20, 30), "mean=1:2", "mean has 2 numbers for 3"),
        (takes("float32", 1, 3, 20, 30), "order=gray", "order=gray gives 1"),
        (takes("float32", 1, 7), "", "does not tell"),
    ],
)
def test_what_cannot_be_meant_is_said(tmp_path: Path, signature: Signature, how: str, said: str) -> None:
    picture(tmp_path / "a.png")
    with pytest.raises(UsageError, match=said):
        the_input(tmp_path / "a.png", signature, how)


@pytest.mark.parametrize("text", ["std=0", "scale=nan", "resize=0", "crop=1x2x3", "order=xyz", "colour=rgb", "filter=x"])
def test_preprocessing_that_cannot_be_meant(text: str) -> None:
    with pytest.raises(UsageError):
        Preprocess.parse(text)


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnreadableInput, match=r"a\.png cannot be read as an image"):
        the_input(tmp_path / "a.png", takes("uint8", 1, 20, 30, 3))


def labels_of(request: Request) -> list[int]:
    found = load(request, takes("uint8", "N", 20, 30, 3))
    return [int(label) for item in found.sets if item.labels is not None for label in item.labels]


def test_labels_come_from_a_table_by_file_name(tmp_path: Path) -> None:
    for index, name in enumerate(("b.png", "a.png", "c.png")):
        picture(tmp_path / name, seed=index)
    (tmp_path / "labels.csv").write_text("image,class\nc.png,7\na.png,5\nb.png,6\nelsewhere.png,1\n")
    assert labels_of(Request(tmp_path)) == [5, 6, 7]
    assert labels_of(Request(tmp_path, offset=1, limit=2)) == [6, 7]
    (tmp_path / "other.tsv").write_text("a\t1\nb\t2\n")
    with pytest.raises(UsageError, match=r"other\.tsv has no row for 1 of 3 images, c\.png"):
        labels_of(Request(tmp_path, labels=tmp_path / "other.tsv"))


def test_labels_come_from_folders(tmp_path: Path) -> None:
    for name in ("cat/1.png", "cat/2.png", "ant/1.png", "dog/3.png"):
        picture(tmp_path / "words" / name)
        picture(tmp_path / "numbers" / name.replace("cat", "10").replace("ant", "2").replace("dog", "3"))
    assert labels_of(Request(tmp_path / "words")) == [0, 1, 1, 2]
    assert labels_of(Request(tmp_path / "numbers")) == [10, 10, 2, 3]


def test_a_number_of_labels_that_fits_nothing_is_an_error(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((4, 20, 30, 3), np.uint8), y=np.arange(3))
    with pytest.raises(UsageError, match="3 labels for 4 samples"):
        labels_of(Request(tmp_path / "a.npz"))
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 20, 30, 3), np.uint8), y=np.eye(3, dtype=np.uint8)[[2, 0, 1]].argmax(1))
    assert labels_of(Request(tmp_path / "a.npz")) == [2, 0, 1]


def test_idx_files_of_mnist(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 28, 28), np.uint8)
    images, truth = tmp_path / "images-ubyte.gz", tmp_path / "labels-ubyte"
    head = bytes([0, 0, 8, 3]) + b"".join(size.to_bytes(4, "big") for size in pixels.shape)
    images.write_bytes(gzip.compress(head + pixels.tobytes()))
    truth.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 4, 5, 6]))
    signature = takes("float32", None, 1, 28, 28)
    found = load(Request(images, Preprocess.parse("raw"), truth), signature)
    assert np.array_equal(found.sets[0].arrays["x"][:, 0], pixels)
    assert found.sets[0].labels is not None
    assert found.sets[0].labels.tolist() == [4, 5, 6]
    images.write_bytes(gzip.compress((head + pixels.tobytes())[:-1]))
    with pytest.raises(UnreadableInput, match="cannot be read as an idx file"):
        load(Request(images), signature)


def test_preprocessing_of_what_is_no_image_is_refused_not_skipped(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 3, 20, 30), np.float32))
    with pytest.raises(UsageError, match=r"--preprocess speaks of images; .* holds float32"):
        the_input(tmp_path / "a.npy", takes("float32", 1, 3, 20, 30), "torch")


def test_samples_that_fill_no_batch_are_named(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((7, 5), np.float32))
    found = load(Request(tmp_path / "a.npy"), takes("float32", 3, 5))
    assert len(found.sets) == 2
    assert "1 of 7 samples" in found.notes[0]
    assert [item.arrays["x"].shape[0] for item in load(Request(tmp_path / "a.npy"), takes("float32", "N", 5)).sets] == [7]


def test_inputs_without_a_common_batch_are_one_run(tmp_path: Path) -> None:
    state, rate = TensorSpec("state", "float32", (2, None, 3)), TensorSpec("sr", "int64", ())
    signature = Signature((TensorSpec("x", "float32", (None, 4)), state, rate), ())
    arrays = {"x": np.ones((1, 4), np.float32), "state": np.ones((2, 1, 3), np.float32), "sr": np.array(16000)}
    np.savez(tmp_path / "a.npz", **arrays)
    found = load(Request(tmp_path / "a.npz"), signature)
    assert [item.arrays["state"].shape for item in found.sets] == [(2, 1, 3)]
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    assert [int(item.arrays["sr"]) for item in load(Request(folder), signature).sets] == [16000]


def test_integers_that_the_type_cannot_hold_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[300, -1]]))
    with pytest.raises(UsageError, match="reaches from -1 to 300"):
        the_input(tmp_path / "a.npy", takes("uint8", 1, 2))
