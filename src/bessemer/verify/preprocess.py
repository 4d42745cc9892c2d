"""How an image becomes an input tensor: declared by the user, shaped by the input, never guessed where it matters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bessemer.ir.errors import MissingExtra, UnreadableInput, UsageError
from bessemer.ir.signature import TensorSpec
from bessemer.ir.types import Array, named_dtype

if TYPE_CHECKING:
    from bessemer.ir.encoding import Encoding

CHANNELS = (1, 3)
FILTERS = ("bilinear", "bicubic", "nearest", "lanczos", "box")
PRESETS: dict[str, dict[str, str]] = {
    "torch": {"mean": "0.485:0.456:0.406", "std": "0.229:0.224:0.225", "scale": "255", "order": "rgb"},
    "tf": {"mean": "1", "scale": "127.5", "order": "rgb"},
    "caffe": {"mean": "103.939:116.779:123.68", "scale": "1", "order": "bgr"},
    "raw": {"scale": "1"},
}
"""The normalisations that Keras calls by these names (keras.applications.imagenet_utils); `raw`: 0 to 255 as it is."""


@dataclass(frozen=True)
class Preprocess:
    """What the user declared of images.

    resize: () | (short side,) | (height, width), pixels; crop: () | (side,) | (height, width) from the centre.
        What then differs from the input's size is resized to it.
    filter: of resizing, one of FILTERS.
    scale: pixels are divided by it first (None: 255 for float inputs, and an integer input keeps the pixels);
    mean, std: one number or one per channel, after scaling, in the order of the channels as fed.
    order: '' | 'rgb' | 'bgr' | 'gray'; layout: '' | 'nchw' | 'nhwc' ('': what the input's shape says).
    """

    resize: tuple[int, ...] = ()
    crop: tuple[int, ...] = ()
    scale: float | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    order: str = ""
    layout: str = ""
    filter: str = "bilinear"

    @classmethod
    def parse(cls, text: str) -> Preprocess:
        """Read `torch,resize=256,crop=224` or `resize=256x256,mean=0.5,std=0.5,order=bgr,layout=nhwc,scale=255`."""
        values: dict[str, str] = {}
        for item in filter(None, (part.strip() for part in text.split(","))):
            key, equals, value = item.partition("=")
            if not equals and key in PRESETS:
                values.update(PRESETS[key])
            elif equals and key in cls.__dataclass_fields__:
                values[key] = value
            else:
                known = f"Known keys: {', '.join(cls.__dataclass_fields__)}; presets: {', '.join(PRESETS)}"
                raise UsageError(f"--preprocess does not know '{item}'", fix=known)
        try:
            return cls(
                resize=_size("resize", values.get("resize", "")),
                crop=_size("crop", values.get("crop", "")),
                scale=_divisor("scale", values["scale"]) if "scale" in values else None,
                mean=_floats(values.get("mean", "")),
                std=tuple(_divisor("std", part) for part in values.get("std", "").split(":") if part),
                order=_one_of("order", values.get("order", ""), ("rgb", "bgr", "gray")),
                layout=_one_of("layout", values.get("layout", ""), ("nchw", "nhwc")),
                filter=_one_of("filter", values.get("filter", "bilinear"), FILTERS),
            )
        except ValueError as error:
            raise UsageError(f"--preprocess has a value that is no number: {error}") from None

    @property
    def normalises(self) -> bool:
        """Whether the user declared how pixels become real values."""
        return self.scale is not None or bool(self.mean) or bool(self.std)


def _floats(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(":") if part)


def _divisor(key: str, text: str) -> float:
    value = float(text)
    if value == 0 or not np.isfinite(value):
        raise UsageError(f"--preprocess {key}={text} cannot divide anything")
    return value


def _size(key: str, text: str) -> tuple[int, ...]:
    size = tuple(int(part) for part in text.split("x")) if text else ()
    if len(size) > 2 or any(side < 1 for side in size):
        raise UsageError(f"--preprocess {key}={text} is no size", fix=f"Write {key}=224 or {key}=224x320")
    return size


def _one_of(key: str, value: str, allowed: tuple[str, ...]) -> str:
    if value and value not in allowed:
        raise UsageError(f"--preprocess {key}={value} is not known", fix=f"Use one of: {', '.join(allowed)}")
    return value


@dataclass(frozen=True)
class ImageReader:
    """Makes images fit one input. `size` is (height, width); `channels` 1 or 3; `layout` 'nchw', 'nhwc' or 'nhw'."""

    spec: TensorSpec
    how: Preprocess
    encoding: Encoding | None
    size: tuple[int, int]
    channels: int
    layout: str

    @classmethod
    def of(cls, spec: TensorSpec, how: Preprocess, encoding: Encoding | None = None) -> ImageReader:
        """Settle what the declaration leaves open; raises UsageError where the input's shape does not tell."""
        layout = how.layout or _layout(spec)
        axes = {"nchw": (2, 3), "nhwc": (1, 2), "nhw": (1, 2)}[layout]
        if len(spec.shape) != len(layout):
            raise UsageError(f"The input '{spec}' does not take images", why=f"layout {layout} has {len(layout)} axes")
        channels = _channels(spec, layout, how)
        _check_channels(how, channels)
        _check_integer(spec, how, encoding)
        return cls(spec, how, encoding, _target(spec, axes, how), channels, layout)

    def file(self, path: Path) -> Array:
        """The tensor of one image file, without the batch axis. Raises UnreadableInput with the file named."""
        image_module = _pillow()
        try:
            with image_module.open(path) as opened:
                return self.image(opened, str(path))
        except (OSError, ValueError, SyntaxError, image_module.DecompressionBombError) as error:
            raise UnreadableInput(f"{path} cannot be read as an image", why=str(error)) from None

    def pixels(self, array: Array) -> Array:
        """The tensor of one uint8 image of shape (height, width) or (height, width, 1 | 3)."""
        flat = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
        return self.image(_pillow().fromarray(flat), "an image of the array")

    def image(self, image: Any, name: str) -> Array:
        """The tensor of a PIL image."""
        placed = self._placed(image.convert("L" if self.channels == 1 else "RGB"), name)
        pixels = np.atleast_3d(np.asarray(placed))
        pixels = pixels[..., ::-1] if self.how.order == "bgr" else pixels
        values = self._values(pixels)
        if self.layout == "nhw":
            return np.ascontiguousarray(values[..., 0])
        return np.ascontiguousarray(values if self.layout == "nhwc" else values.transpose(2, 0, 1))

    def _placed(self, image: Any, name: str) -> Any:
        """Resized, cropped, and resized once more to the input's size where that still differs."""
        resample = getattr(_pillow().Resampling, self.how.filter.upper())
        if self.how.resize:
            image = image.resize(_resized(image.size, self.how.resize), resample)
        if self.how.crop:
            height, width = (*self.how.crop, *self.how.crop)[:2]
            if image.width < width or image.height < height:
                raise UsageError(
                    f"{name} is {image.width}x{image.height} pixels, too small for crop={width}x{height}",
                    fix="Say resize= in --preprocess: it comes first",
                )
            left, top = round((image.width - width) / 2), round((image.height - height) / 2)
            image = image.crop((left, top, left + width, top + height))
        height, width = self.size
        return image if image.size == (width, height) else image.resize((width, height), resample)

    def _values(self, pixels: Array) -> Array:
        dtype = named_dtype(self.spec.dtype)
        if dtype.kind in "iu" and not self.how.normalises:
            return pixels.astype(dtype)
        scale = np.float32(255 if self.how.scale is None else self.how.scale)
        mean, std = np.array(self.how.mean or (0,), np.float32), np.array(self.how.std or (1,), np.float32)
        real = (pixels.astype(np.float32) / scale - mean) / std
        return real.astype(dtype) if self.encoding is None else self.encoding.quantize(real)


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtra("pillow", extra="images", needed_for="Reading images") from None
    return Image


def _layout(spec: TensorSpec) -> str:
    """Where the channels stand, told by the shape: an axis of 1 or 3 beside two spatial ones."""
    if len(spec.shape) == 3:
        return "nhw"
    first, last = (len(spec.shape) == 4 and spec.shape[axis] in CHANNELS for axis in (1, 3))
    if first == last:
        why = "both axes could hold them" if first else "no axis of size 1 or 3 holds them"
        raise UsageError(
            f"The input '{spec}' does not tell where its colour channels stand", why=why,
            fix="Say layout=nchw or layout=nhwc in --preprocess; inputs that are no images want .npy or .npz",
        )  # fmt: skip
    return "nchw" if first else "nhwc"


def _channels(spec: TensorSpec, layout: str, how: Preprocess) -> int:
    said = 1 if how.order == "gray" else 3 if how.order else None
    found = 1 if layout == "nhw" else spec.shape[1 if layout == "nchw" else 3]
    wanted = found if isinstance(found, int) else said or 3
    if wanted not in CHANNELS or (said is not None and said != wanted):
        order = f", order={how.order} gives {said}" if said else ""
        raise UsageError(f"The input '{spec}' has {wanted} channels ({layout}){order}; images have 1 or 3")
    return wanted


def _check_channels(how: Preprocess, channels: int) -> None:
    for key, values in (("mean", how.mean), ("std", how.std)):
        if len(values) not in (0, 1, channels):
            raise UsageError(f"--preprocess {key} has {len(values)} numbers for {channels} channel(s)")


def _check_integer(spec: TensorSpec, how: Preprocess, encoding: Encoding | None) -> None:
    """An integer input gets the pixels, or real values that its encoding can turn into integers."""
    dtype = named_dtype(spec.dtype)
    if dtype.kind not in "iu":
        return
    if how.normalises and encoding is None:
        raise UsageError(
            f"The input '{spec}' takes integers and the model gives them no scale",
            fix="Leave scale, mean and std out of --preprocess: the pixels are fed as they are",
        )
    if not how.normalises and dtype == np.int8:
        low, high = (encoding.dequantize(np.array([limit])).item() for limit in (-128, 127)) if encoding else (0, 0)
        told = f"its encoding reaches from {low:.4g} to {high:.4g}" if encoding else "the model gives it no scale"
        raise UsageError(
            f"Pixels (0 to 255) do not fit the int8 input '{spec}'", why=told,
            fix="Say in --preprocess how pixels become real values (tf, torch, raw, or scale=, mean=, std=): "
            "they are then quantized with the input's own scale",
        )  # fmt: skip


def _target(spec: TensorSpec, axes: tuple[int, int], how: Preprocess) -> tuple[int, int]:
    """Height and width: the input's, else the crop's, else an explicit resize's."""
    said = (*how.crop, *how.crop)[:2] or (how.resize if len(how.resize) == 2 else ())
    sizes = [spec.shape[axis] for axis in axes]
    fixed = [size if isinstance(size, int) else said[place] if said else 0 for place, size in enumerate(sizes)]
    if not all(fixed):
        raise UsageError(f"The input '{spec}' fixes no image size", fix="Say crop=224 or resize=224x224 in --preprocess")
    return fixed[0], fixed[1]


def _resized(size: tuple[int, int], wanted: tuple[int, ...]) -> tuple[int, int]:
    """(width, height) after resizing: exactly as said, or by the short side."""
    if len(wanted) == 2:
        return wanted[1], wanted[0]
    ratio = wanted[0] / min(size)
    return max(1, round(size[0] * ratio)), max(1, round(size[1] * ratio))
