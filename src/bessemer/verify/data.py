"""The user's inputs: .npy, .npz, idx, images, a folder of them, or a folder of one folder per class; lists of tokens;
a Python function.

Images are decoded when a run asks for them, so memory is bounded by one batch however many there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.encoding import Encoding, encoding_of
from bessemer.ir.errors import UsageError
from bessemer.ir.signature import Signature, TensorSpec
from bessemer.ir.types import Array, integer_limits, named_dtype
from bessemer.verify import feeds, sounds, tokens
from bessemer.verify import labels as label_files
from bessemer.verify.arrays import LABEL_NAMES, archive, is_idx, one_array
from bessemer.verify.fitting import batch, cast, check, is_one_set, only_input
from bessemer.verify.inputs import InputSet
from bessemer.verify.preprocess import ImageReader, Preprocess

if TYPE_CHECKING:
    import onnx_ir

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm")
CLIPPED = 0.1
"""Share of real values outside an integer input's range from which on they are not meant for it."""


@dataclass(frozen=True)
class UserData:
    """Input sets in order, with labels where the data has them, and what the report must say."""

    sets: tuple[InputSet, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Request:
    """What the user said of the data.

    labels: file of right answers; offset is added to them (a model that counts its classes from 1 wants 1).
    limit: at most this many samples (0: all); preprocess: None where nothing was declared.
    """

    path: Path
    preprocess: Preprocess | None = None
    labels: Path | None = None
    offset: int = 0
    limit: int = 0


@dataclass(frozen=True)
class _Samples:
    """`count` samples; `read(start, stop)` makes the arrays of some of them by input name.

    alike: whether all have one shape, so that several make a batch.
    """

    count: int
    read: Callable[[int, int], dict[str, Array]]
    labels: Array | None = None
    notes: tuple[str, ...] = field(default=())
    alike: bool = True


def load(request: Request, signature: Signature, encodings: Mapping[str, Encoding] | None = None) -> UserData:
    """Input sets that fit `signature`; raises UsageError or UnreadableInput with the file named.

    encodings: of integer inputs that stand for real values; images with a declared normalisation and arrays of
    floats are quantized with them.
    """
    for path, option in ((request.path, "--data"), (request.labels, "--labels")):
        if path is not None and not path.exists() and (option != "--data" or feeds.names_function(path) is None):
            raise UsageError(f"{option} {path} does not exist")
    samples = _numbered(_read(request, signature, encodings or {}), request.path)
    count = min(samples.count, request.limit) if request.limit else samples.count
    size, fixed = batch(signature, count if samples.alike else 1)
    whole = count - count % size if fixed else count
    if not whole:
        raise UsageError(f"--data {request.path} holds {count} sample(s), the model takes {size} at once")
    labels = _labels(samples, request, count, whole)
    sets = tuple(_sets(samples, labels, request.path, whole, size))
    notes = list(samples.notes)
    if whole < count:
        notes.append(f"{count - whole} of {count} samples of {request.path} were not run: the model takes {size} at once")
    return UserData(sets, tuple(notes))


def input_encodings(graph: onnx_ir.Graph) -> dict[str, Encoding]:
    """What the integers of inputs stand for, where a DequantizeLinear with one scale follows them."""
    found: dict[str, Encoding] = {}
    for value in graph.inputs:
        used = [encoding_of(node.outputs[0]) for node, _ in value.uses() if node.op_type == "DequantizeLinear"]
        if value.name and used and used[0] is not None and used[0].per_tensor:
            found[value.name] = used[0]
    return found


def _numbered(samples: _Samples, path: Path) -> _Samples:
    """Labels that are names of classes cannot be compared with a model's arg-max: they are left out, and said."""
    if samples.labels is None or samples.labels.dtype.kind in "iu":
        return samples
    note = f"the labels in {path} are no class numbers ({samples.labels.dtype}): accuracy was not measured"
    return replace(samples, labels=None, notes=(*samples.notes, note))


def _labels(samples: _Samples, request: Request, count: int, whole: int) -> Array | None:
    if samples.labels is None:
        if request.offset:
            raise UsageError("--label-offset speaks of labels, and the data has none", fix="Give them with --labels")
        return None
    if samples.labels.size < count or (samples.labels.size != samples.count and not request.limit):
        raise UsageError(f"There are {samples.labels.size} labels for {samples.count} samples of {request.path}")
    return samples.labels[:whole] + request.offset


def _read(request: Request, signature: Signature, encodings: Mapping[str, Encoding]) -> _Samples:
    path = request.path
    if feeds.names_function(path) is not None:
        return _of_function(request, signature, encodings)
    if tokens.holds_lists(path):
        return _of_lists(request, signature)
    if files := sounds.files_of(path, signature):
        return _of_files(files, request, signature.inputs[0])
    files = _image_files(path)
    if files:
        return _of_images(files, request, signature, encodings)
    arrays, found = _arrays(path, signature)
    found = label_files.read(request.labels) if request.labels is not None else found
    if request.preprocess is not None:
        return _of_pixels(arrays, found, request, signature, encodings)
    arrays, said = tokens.complete(arrays, signature)
    arrays, notes = _encoded(arrays, signature, encodings)
    return _of_arrays(arrays, found, (*said, *notes), signature, path)


def _of_function(request: Request, signature: Signature, encodings: Mapping[str, Encoding]) -> _Samples:
    """What a function yields is written to a temporary file as it comes; runs read it from there."""
    path = request.path
    _no_images(request, "a function gives tensors", "Preprocess in the function")
    spool, labels, notes = feeds.Spool(), list[Array](), list[str]()
    whole = False
    for item in feeds.calls(path, request.limit):
        arrays, told = feeds.by_name(item, signature, path)
        arrays, said = tokens.complete(arrays, signature)
        arrays, spoken = _encoded(arrays, signature, encodings)
        notes = notes or [*said, *spoken]
        whole = _fitting(arrays, signature, path)
        ready = {spec.name: cast(arrays[spec.name], spec) for spec in signature.inputs}
        spool.add(ready, whole)
        labels += [] if told is None else [told]
        if request.limit and spool.count >= request.limit:
            break
    if not spool.count:
        raise UsageError(f"--data {path} yields no sample", fix="Yield at least one; calibration wants 16 or more")
    found = label_files.read(request.labels) if request.labels is not None else None
    found = np.concatenate(labels) if found is None and labels else found
    if not whole:
        return _Samples(spool.count, spool.rows, found, tuple(notes), spool.alike)
    size = batch(signature, 1)[0]

    def read(start: int, stop: int) -> dict[str, Array]:
        return spool.run(start // size)

    return _Samples(spool.count * size, read, found, tuple(notes), alike=False)


def _of_lists(request: Request, signature: Signature) -> _Samples:
    """Lists of tokens, padded when a run asks for them."""
    _no_images(request, "it holds tokens", "Leave it out")
    lists = tokens.open_lists(request.path)
    roles = tokens.roles_of(signature, request.path)
    notes, length = tokens.fit(lists, signature, roles)

    def read(start: int, stop: int) -> dict[str, Array]:
        made = tokens.padded([lists.row(place) for place in range(start, stop)], roles, length)
        return {spec.name: cast(made[spec.name], spec) for spec in signature.inputs}

    found = label_files.read(request.labels) if request.labels is not None else lists.labels
    return _Samples(len(lists), read, found, notes)


def _of_files(files: Sequence[Path], request: Request, spec: TensorSpec) -> _Samples:
    """Whole files, one per run, for a model that decodes them itself."""
    _no_images(request, "the model decodes its files itself", "Leave it out")
    root = request.path if request.path.is_dir() else request.path.parent
    chosen = files[: request.limit] if request.limit else files
    single = request.path.is_file() and request.labels is None
    found = None if single else label_files.of_files(chosen, root, request.labels)

    def read(start: int, stop: int) -> dict[str, Array]:
        return {spec.name: sounds.as_input(chosen[start].read_bytes())}

    return _Samples(len(chosen), read, found, alike=False)


def _no_images(request: Request, why: str, fix: str) -> None:
    if request.preprocess is not None:
        raise UsageError(f"--preprocess speaks of images, and --data {request.path} is none", why=why, fix=fix)


def _image_files(path: Path) -> list[Path]:
    """Images of a folder, or of its folders, by name; a single image is a folder of one."""
    if path.is_file():
        return [path] if path.suffix.lower() in IMAGES else []
    here = sorted(item for item in path.iterdir() if item.suffix.lower() in IMAGES and item.is_file())
    below = (item for item in sorted(path.glob("*/*")) if item.suffix.lower() in IMAGES and item.is_file())
    return here or list(below)


def _of_images(
    files: Sequence[Path], request: Request, signature: Signature, encodings: Mapping[str, Encoding]
) -> _Samples:
    spec = only_input(signature, request.path)
    reader = ImageReader.of(spec, request.preprocess or Preprocess(), encodings.get(spec.name))
    root = request.path if request.path.is_dir() else request.path.parent
    chosen = files[: request.limit] if request.limit else files
    single = request.path.is_file() and request.labels is None
    found = None if single else label_files.of_files(chosen, root, request.labels)

    def read(start: int, stop: int) -> dict[str, Array]:
        return {spec.name: np.stack([reader.file(file) for file in chosen[start:stop]])}

    return _Samples(len(chosen), read, found)


def _of_pixels(
    arrays: Mapping[str, Array],
    found: Array | None,
    request: Request,
    signature: Signature,
    encodings: Mapping[str, Encoding],
) -> _Samples:
    """Arrays of 8-bit images are preprocessed like image files."""
    spec = only_input(signature, request.path)
    array = next(iter(arrays.values()), None)
    if array is None or array.dtype != np.uint8 or not _is_pictures(array):
        have = "nothing" if array is None else f"{array.dtype}{list(array.shape)}"
        raise UsageError(
            f"--preprocess speaks of images; {request.path} holds {have}",
            fix="Preprocessed arrays are uint8 of shape [count, height, width] or [count, height, width, 1 or 3]",
        )
    reader = ImageReader.of(spec, request.preprocess or Preprocess(), encodings.get(spec.name))

    def read(start: int, stop: int) -> dict[str, Array]:
        return {spec.name: np.stack([reader.pixels(array[place]) for place in range(start, stop)])}

    return _Samples(array.shape[0], read, found)


def _is_pictures(array: Array) -> bool:
    return array.ndim == 3 or (array.ndim == 4 and array.shape[3] in (1, 3))


def _arrays(path: Path, signature: Signature) -> tuple[dict[str, Array], Array | None]:
    """Arrays by input name, and labels."""
    if path.is_dir():
        return _directory(path, signature)
    if path.suffix == ".npz":
        return _split_labels(archive(path), signature)
    if path.suffix == ".npy" or is_idx(path):
        name = "input_ids" if tokens.are_tokens(signature) else only_input(signature, path).name
        return {name: one_array(path)}, None
    raise UsageError(
        f"--data {path} is of no known kind",
        fix="Give .npy, .npz, idx, .jsonl of tokens, an image, a folder of them or of one folder of images per class, "
            "or module:function",
    )


def _directory(path: Path, signature: Signature) -> tuple[dict[str, Array], Array | None]:
    """One .npy per input, named as the inputs are; or files of samples, joined in the order of their names."""
    files = sorted(item for item in path.iterdir() if item.suffix in (".npy", ".npz") and item.is_file())
    if not files:
        raise UsageError(f"--data {path} holds no .npy, .npz or image file")
    names = [spec.name for spec in signature.inputs]
    by_name = {item.stem: item for item in files if item.suffix == ".npy"}
    if tokens.are_tokens(signature) and any(map(tokens.role, by_name)):
        return {name: one_array(file) for name, file in by_name.items()}, None
    if len(names) > 1 and set(names) <= set(by_name):
        return {name: one_array(by_name[name]) for name in names}, None
    parts = [_arrays(item, signature) for item in files]
    if any(arrays.keys() != parts[0][0].keys() for arrays, _ in parts):
        raise UsageError(f"The files of --data {path} hold arrays of different names")
    found = [label for _, label in parts if label is not None]
    joined = {name: np.concatenate([arrays[name] for arrays, _ in parts]) for name in parts[0][0]}
    return joined, np.concatenate(found) if len(found) == len(parts) else None


def _split_labels(arrays: dict[str, Array], signature: Signature) -> tuple[dict[str, Array], Array | None]:
    names = {spec.name for spec in signature.inputs}
    found = next((arrays[name] for name in LABEL_NAMES if name in arrays and name not in names), None)
    fed = {name: array for name, array in arrays.items() if name in names}
    rest = [name for name in arrays if name not in names and name not in LABEL_NAMES]
    if tokens.are_tokens(signature):
        fed = {name: array for name, array in arrays.items() if name not in LABEL_NAMES}
    if not fed and len(signature.inputs) == 1 and len(rest) == 1:
        fed = {signature.inputs[0].name: arrays[rest[0]]}
    return fed, None if found is None else np.asarray(found).reshape(-1)


def _encoded(
    arrays: Mapping[str, Array], signature: Signature, encodings: Mapping[str, Encoding]
) -> tuple[dict[str, Array], tuple[str, ...]]:
    """Real values for integer inputs become integers where the model gives the scale."""
    found, notes = dict(arrays), []
    for spec in signature.inputs:
        array, encoding = arrays.get(spec.name), encodings.get(spec.name)
        if array is None or array.dtype.kind != "f" or encoding is None or named_dtype(spec.dtype).kind not in "iu":
            continue
        found[spec.name] = encoding.quantize(array)
        _check_range(array, encoding, spec)
        notes.append(
            f"real values for '{spec.name}' were quantized: scale {float(encoding.scale):.6g}, "
            f"zero point {int(encoding.zero_point)}"
        )
    return found, tuple(notes)


def _check_range(array: Array, encoding: Encoding, spec: TensorSpec) -> None:
    low, high = encoding.dequantize(np.array(integer_limits(named_dtype(spec.dtype))))
    step = float(encoding.scale)
    outside = float(np.mean((array < low - step) | (array > high + step))) if array.size else 0.0
    if outside > CLIPPED:
        raise UsageError(
            f"{outside:.0%} of the data for '{spec.name}' lies outside what the input can hold",
            why=f"its encoding reaches from {low:.4g} to {high:.4g}",
            fix=f"Save the array as {spec.dtype} where it holds the integers themselves",
        )


def _of_arrays(
    arrays: Mapping[str, Array], found: Array | None, notes: tuple[str, ...], signature: Signature, path: Path
) -> _Samples:
    whole = _fitting(arrays, signature, path)

    def read(start: int, stop: int) -> dict[str, Array]:
        part = {spec.name: arrays[spec.name] if whole else arrays[spec.name][start:stop] for spec in signature.inputs}
        return {spec.name: cast(part[spec.name], spec) for spec in signature.inputs}

    count = batch(signature, 1)[0] if whole else min(array.shape[0] for array in arrays.values())
    return _Samples(count, read, found, notes)


def _fitting(arrays: Mapping[str, Array], signature: Signature, path: Path) -> bool:
    """Whether the arrays are one run as they stand. Raises UsageError where one is missing or of another shape."""
    for spec in signature.inputs:
        if spec.name not in arrays:
            raise UsageError(f"--data {path} has no array for the input '{spec}'", fix="Name the arrays as the inputs")
    whole = is_one_set(arrays, signature)
    for spec in signature.inputs:
        check(arrays[spec.name], spec, path, whole)
    return whole


def _sets(samples: _Samples, labels: Array | None, path: Path, whole: int, size: int) -> Iterator[InputSet]:
    for start in range(0, whole, size):
        stop = min(start + size, whole)
        told = None if labels is None else labels[start:stop]
        yield InputSet(f"{path.name}[{start}:{stop}]", partial(samples.read, start, stop), told)
