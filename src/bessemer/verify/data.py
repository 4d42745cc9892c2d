"""The user's inputs: .npy, .npz, a directory of either, or images with declared preprocessing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bessemer.ir.errors import MissingExtra, UnreadableInput, UsageError
from bessemer.ir.signature import Signature, TensorSpec
from bessemer.ir.types import Array, named_dtype
from bessemer.verify.inputs import InputSet

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm")
LABEL_NAMES = ("labels", "label", "y", "targets")


@dataclass(frozen=True)
class Preprocess:
    """How an image file becomes an input tensor.

    resize: short side in pixels (0: straight to the input's size); crop: centre crop in pixels;
    scale: pixels are divided by it first; mean/std: per channel, after scaling; order: 'rgb' | 'bgr' | 'gray';
    layout: 'nchw' | 'nhwc'.
    """

    resize: int = 0
    crop: int = 0
    scale: float = 255.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    order: str = "rgb"
    layout: str = "nchw"

    @classmethod
    def parse(cls, text: str) -> Preprocess:
        """Read `resize=224,crop=224,mean=0.485:0.456:0.406,std=...,order=rgb,layout=nchw,scale=255`."""
        values: dict[str, str] = {}
        for item in filter(None, text.split(",")):
            key, equals, value = item.partition("=")
            if not equals or key not in cls.__dataclass_fields__:
                known = ", ".join(cls.__dataclass_fields__)
                raise UsageError(f"--preprocess does not know '{item}'", fix=f"Known keys: {known}")
            values[key] = value
        try:
            return cls(
                resize=int(values.get("resize", 0)),
                crop=int(values.get("crop", 0)),
                scale=float(values.get("scale", 255.0)),
                mean=_floats(values.get("mean", "")),
                std=_floats(values.get("std", "")),
                order=_one_of("order", values.get("order", "rgb"), ("rgb", "bgr", "gray")),
                layout=_one_of("layout", values.get("layout", "nchw"), ("nchw", "nhwc")),
            )
        except ValueError as error:
            raise UsageError(f"--preprocess has a value that is no number: {error}") from None


def _floats(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(":") if part)


def _one_of(key: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise UsageError(f"--preprocess {key}={value} is not known", fix=f"Use one of: {', '.join(allowed)}")
    return value


@dataclass(frozen=True)
class UserData:
    """Input sets in order, and a label per sample where the data has them."""

    sets: tuple[InputSet, ...]
    labels: Array | None = None


def load(
    path: Path, signature: Signature, preprocess: Preprocess, labels: Path | None = None, limit: int = 0
) -> UserData:
    """Read `path` into input sets that fit `signature`; raises UsageError or UnreadableInput with the file named.

    limit: at most this many samples (0: all).
    """
    if not path.exists():
        raise UsageError(f"--data {path} does not exist")
    arrays, found = _read_any(path, signature, preprocess)
    if labels is not None:
        found = _one_array(labels)
    samples = {name: array[:limit] if limit else array for name, array in arrays.items()}
    _check(samples, signature, path)
    sets = tuple(_batches(samples, signature, path))
    total = sum(next(iter(item.arrays.values())).shape[0] for item in sets if item.arrays)
    return UserData(sets, None if found is None else np.asarray(found).reshape(-1)[:total])


def _read_any(
    path: Path, signature: Signature, preprocess: Preprocess
) -> tuple[dict[str, Array], Array | None]:
    if path.is_dir():
        return _read_directory(path, signature, preprocess)
    if path.suffix == ".npz":
        return _split_labels(_archive(path), signature)
    if path.suffix == ".npy":
        return {_only_input(signature, path).name: _one_array(path)}, None
    if path.suffix.lower() in IMAGES:
        spec = _only_input(signature, path)
        return {spec.name: _image(path, spec, preprocess)[None]}, None
    raise UsageError(
        f"--data {path} is of no known kind", fix="Give .npy, .npz, an image, or a directory of them"
    )


def _read_directory(
    path: Path, signature: Signature, preprocess: Preprocess
) -> tuple[dict[str, Array], Array | None]:
    files = sorted(item for item in path.iterdir() if item.is_file())
    images = [item for item in files if item.suffix.lower() in IMAGES]
    if images:
        spec = _only_input(signature, path)
        return {spec.name: np.stack([_image(item, spec, preprocess) for item in images])}, None
    arrays = [item for item in files if item.suffix in (".npy", ".npz")]
    if not arrays:
        raise UsageError(f"--data {path} holds no .npy, .npz or image file")
    parts = [_read_any(item, signature, preprocess)[0] for item in arrays]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, None


def _archive(path: Path) -> dict[str, Array]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError) as error:
        raise UnreadableInput(f"--data {path} cannot be read as .npz", why=str(error)) from None


def _one_array(path: Path) -> Array:
    if path.suffix == ".npz":
        arrays = _archive(path)
        name = next((name for name in LABEL_NAMES if name in arrays), next(iter(arrays)))
        return arrays[name]
    try:
        array: Array = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise UnreadableInput(f"{path} cannot be read as .npy", why=str(error)) from None
    return array


def _split_labels(arrays: dict[str, Array], signature: Signature) -> tuple[dict[str, Array], Array | None]:
    names = {spec.name for spec in signature.inputs}
    labels = next((arrays[name] for name in LABEL_NAMES if name in arrays and name not in names), None)
    fed = {name: array for name, array in arrays.items() if name in names}
    rest = [name for name in arrays if name not in names and name not in LABEL_NAMES]
    if not fed and len(signature.inputs) == 1 and len(rest) == 1:
        fed = {signature.inputs[0].name: arrays[rest[0]]}
    return fed, labels


def _only_input(signature: Signature, path: Path) -> TensorSpec:
    if len(signature.inputs) != 1:
        names = ", ".join(spec.name for spec in signature.inputs)
        raise UsageError(
            f"--data {path} holds one array, but the model has {len(signature.inputs)} inputs",
            fix=f"Give an .npz with the arrays {names}",
        )
    return signature.inputs[0]


def _image(path: Path, spec: TensorSpec, how: Preprocess) -> Array:
    """One image as the input's per-sample tensor."""
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtra("pillow", extra="images", needed_for="Reading images") from None
    height, width = _image_size(spec, how)
    with Image.open(path) as opened:
        image = opened.convert("L" if how.order == "gray" else "RGB")
    if how.resize:
        ratio = how.resize / min(image.size)
        image = image.resize(
            (round(image.width * ratio), round(image.height * ratio)), Image.Resampling.BILINEAR
        )
    if how.crop:
        left, top = (image.width - how.crop) // 2, (image.height - how.crop) // 2
        image = image.crop((left, top, left + how.crop, top + how.crop))
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.atleast_3d(np.asarray(image, np.float32))
    pixels = pixels[..., ::-1] if how.order == "bgr" else pixels
    mean, std = np.array(how.mean or (0,), np.float32), np.array(how.std or (1,), np.float32)
    normalised: Array = ((pixels / how.scale - mean) / std).astype(np.float32)
    return normalised if how.layout == "nhwc" else normalised.transpose(2, 0, 1)


def _image_size(spec: TensorSpec, how: Preprocess) -> tuple[int, int]:
    axes = (2, 3) if how.layout == "nchw" else (1, 2)
    dims = [spec.shape[axis] if len(spec.shape) == 4 else None for axis in axes]
    height, width = (dim if isinstance(dim, int) else how.crop or how.resize for dim in dims)
    if not height or not width:
        raise UsageError(f"Input '{spec.name}' fixes no image size", fix="Say crop=PIXELS in --preprocess")
    return height, width


def _check(arrays: dict[str, Array], signature: Signature, path: Path) -> None:
    for spec in signature.inputs:
        if spec.name not in arrays:
            raise UsageError(
                f"--data {path} has no array for the input '{spec}'", fix="Name the arrays as the inputs"
            )
        array = arrays[spec.name]
        fits = array.ndim == len(spec.shape) and all(
            not isinstance(want, int) or want == have
            for want, have in zip(spec.shape[1:], array.shape[1:], strict=False)
        )
        if not fits:
            raise UsageError(
                f"--data {path} does not fit the input '{spec}': it has shape {list(array.shape)}",
                fix="The first axis counts samples; the others must equal the input's",
            )


def _batches(arrays: dict[str, Array], signature: Signature, path: Path) -> Iterator[InputSet]:
    """Cut samples into runs of the batch size that the model fixes (dynamic: up to 64)."""
    count = min(array.shape[0] for array in arrays.values())
    first = signature.inputs[0].shape[0] if signature.inputs[0].shape else 1
    size = first if isinstance(first, int) else min(64, count)
    for start in range(0, count - size + 1 if isinstance(first, int) else count, max(size, 1)):
        part = {spec.name: arrays[spec.name][start : start + size] for spec in signature.inputs}
        cast = {spec.name: _cast(part[spec.name], spec) for spec in signature.inputs}
        yield InputSet(f"{path.name}[{start}:{start + size}]", cast)


def _cast(array: Array, spec: TensorSpec) -> Array:
    if spec.dtype == "str":
        return array.astype(object)
    wanted = named_dtype(spec.dtype)
    if array.dtype.kind == "f" and wanted.kind in "iu":
        raise UsageError(
            f"The data for '{spec.name}' is {array.dtype}, the input wants {wanted}",
            fix="Save the array with the input's type: a silent cast would truncate",
        )
    return np.ascontiguousarray(array.astype(wanted))
