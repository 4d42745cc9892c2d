"""State dicts meet the module that a factory builds: names matched, nested ones and prefixes found, never guessed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bessemer.ir.errors import Blocker, Declined, UnreadableInput, UsageError
from bessemer.wire.errors import WireError
from bessemer.wire.torchzip import ForeignNames, State, Tensor, read

SHOWN = 12
COUNTERS = "num_batches_tracked"
"""Buffers of batch normalisation that count training steps: no answer depends on them."""
MODULES = ("torch.nn.modules.", "torch.nn.parallel.", "torch.nn.quantized.", "torch.ao.nn.")
RUNNERS = (
    "os.", "posix.", "nt.", "subprocess.", "builtins.", "__builtin__.", "sys.", "runpy.", "socket.", "pty.", "shutil.",
    "importlib.", "webbrowser.", "ctypes.", "pickle.", "_pickle.", "code.", "types.", "operator.", "functools.",
)  # fmt: skip
"""Where functions live with which a pickle runs commands or code."""

Leaf = Tensor | Any


def load(path: Path) -> dict[tuple[str, ...], Leaf]:
    """Every tensor of a file by the keys that lead to it; nothing is unpickled.

    Raises UnreadableInput for a broken or hostile file, Declined for a whole pickled module.
    """
    if path.suffix.lower() == ".safetensors" or _head(path)[8:9] == b"{":
        return {(name,): tensor for name, tensor in _safetensors(path).items()}
    try:
        state = read(path)
        found = state.tensors()
    except ForeignNames as error:
        raise _refused(path, error) from None
    except WireError as error:
        raise UnreadableInput(f"{path} is a broken or hostile PyTorch file", why=str(error)) from None
    if not found:
        raise UnreadableInput(f"{path} holds no tensors", why=_shown_values(state))
    return dict(found)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(16)


def _safetensors(path: Path) -> Mapping[str, Any]:
    from bessemer.wire.safetensors import read as read_safetensors

    try:
        return read_safetensors(path)
    except WireError as error:
        raise UnreadableInput(f"{path} is a broken or hostile safetensors file", why=str(error)) from None


def _shown_values(state: State) -> str:
    kind = type(state.values).__name__
    return f"its pickle makes a {kind} without any"


def _refused(path: Path, error: ForeignNames) -> UnreadableInput | Declined:
    """A whole module is declined by its classes; everything else that asks for code is hostile."""
    whole = any(name.startswith(MODULES) for name in error.names)
    runs = [name for name in error.names if name.startswith(RUNNERS) and not name.startswith("__main__")]
    if whole and not runs and not error.broken:
        reason = "the file is a pickled module, whose class would have to be imported and run to read it"
        way = "torch.save(model.state_dict(), ...) with --factory, or torch.export.save, where the model was made"
        blockers = [Blocker("", name, "pickled-module", reason, rewrite=way) for name in error.names]
        return Declined("Reading without unpickling", blockers)
    broken = f"; and it is broken: {error.broken}" if error.broken else ""
    return UnreadableInput(
        f"{path} asks for code, and is not unpickled",
        where=error.where,
        why=f"Its pickle names {', '.join(error.names[:40])}{broken}",
        fix="Do not load it with torch.load either, unless you know who made it; ask for a state dict as safetensors",
    )


@dataclass
class Fit:
    """How the tensors of one place in a file meet a module's. strip: the prefix that all names lose."""

    place: tuple[str, ...]
    strip: str
    found: dict[str, Leaf]
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    misshaped: list[str] = field(default_factory=list)
    forgiven: list[str] = field(default_factory=list)

    @property
    def faults(self) -> int:
        """How much does not fit."""
        return len(self.missing) + len(self.unexpected) + len(self.misshaped)

    @property
    def note(self) -> str:
        """What the report must say of it."""
        parts = [f"weights are those under '{'.'.join(self.place)}'"] if self.place else []
        parts += [f"names without their prefix '{self.strip}'"] if self.strip else []
        parts += [f"counters of training steps left as they are: {len(self.forgiven)}"] if self.forgiven else []
        return "; ".join(parts)


def fill(module: Any, tensors: Mapping[tuple[str, ...], Leaf], path: Path, wanted: str | None = None) -> list[str]:
    """Give a module the tensors of a file, in their own types, mapped and not copied; returns notes.

    wanted: the place in the file where several would fit. Raises UsageError naming all that does not fit.
    """
    own = module.state_dict()
    fits = sorted(_fits(own, tensors), key=lambda fit: (fit.faults, len(fit.strip), len(fit.place)))
    whole = [fit for fit in fits if not fit.faults and wanted in (None, ".".join(fit.place))]
    if not whole:
        raise _misfit(fits[0], path) if fits and fits[0].faults else _unplaced(fits, path, wanted)
    different = {frozenset(map(id, fit.found.values())): fit.place for fit in whole}
    if len(different) > 1:
        places = set(different.values())
        listed = ", ".join(sorted(f"'{'.'.join(place)}'" for place in places))
        raise UsageError(f"{path} holds weights that fit in {len(places)} places: {listed}",
                         fix="Say which with --signature NAME")  # fmt: skip
    best = whole[0]
    module.load_state_dict({name: as_torch(leaf) for name, leaf in best.found.items()}, strict=False, assign=True)
    return [best.note] if best.note else []


def _fits(own: Mapping[str, Any], tensors: Mapping[tuple[str, ...], Leaf]) -> Iterator[Fit]:
    """Every dict in the file, with every prefix that all its names share."""
    places = dict.fromkeys(key[:depth] for key in tensors for depth in range(len(key)))
    for place in places:
        held = {".".join(key[len(place) :]): leaf for key, leaf in tensors.items() if key[: len(place)] == place}
        for strip in _prefixes(list(held)):
            yield _compared(own, place, strip, {name[len(strip) :]: leaf for name, leaf in held.items()})


def _prefixes(names: list[str]) -> list[str]:
    """'' and every dotted beginning that all names have."""
    parts = names[0].split(".")[:-1]
    found = [""]
    for depth in range(1, len(parts) + 1):
        lead = ".".join(parts[:depth]) + "."
        if not all(name.startswith(lead) for name in names):
            break
        found.append(lead)
    return found


def _compared(own: Mapping[str, Any], place: tuple[str, ...], strip: str, held: dict[str, Leaf]) -> Fit:
    fit = Fit(place, strip, {name: leaf for name, leaf in held.items() if name in own})
    for name in own:
        if name not in held:
            (fit.forgiven if name.endswith(COUNTERS) else fit.missing).append(name)
    for name, leaf in held.items():
        if name not in own:
            (fit.forgiven if name.endswith(COUNTERS) else fit.unexpected).append(name)
        elif tuple(leaf.shape) != tuple(own[name].shape):
            fit.misshaped.append(f"{name} is {list(leaf.shape)}, the module's {list(own[name].shape)}")
    return fit


def _misfit(fit: Fit, path: Path) -> UsageError:
    """One error that lists everything."""
    told = [
        f"{len(names)} {what}: {', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''}"
        for what, names in (
            ("missing in the file", fit.missing),
            ("unknown to the module", fit.unexpected),
            ("of another shape", fit.misshaped),
        )
        if names
    ]
    return UsageError(
        f"The weights of {path} do not fit the module of the factory",
        why="; ".join(told),
        fix="Let the factory build the architecture, and its sizes, that the file was saved from",
    )


def _unplaced(fits: list[Fit], path: Path, wanted: str | None) -> UsageError:
    listed = ", ".join(sorted({f"'{'.'.join(fit.place)}'" for fit in fits if not fit.faults}))
    return UsageError(f"{path} has no fitting weights under '{wanted}'", fix=f"Those that fit are under {listed}")


def without_factory(path: Path, tensors: Mapping[tuple[str, ...], Leaf]) -> UsageError:
    """A file of weights says nothing of how they are used."""
    shown = [f"{'.'.join(key)} {list(leaf.shape)}".strip() for key, leaf in list(tensors.items())[:SHOWN]]
    more = f" and {len(tensors) - SHOWN} more" if len(tensors) > SHOWN else ""
    fix = "Say --factory FILE.py:FUNCTION, which builds the torch.nn.Module that they belong to"
    if (path.parent / "config.json").is_file():
        fix += f"; or give the directory {path.parent}, whose config.json may say what they are"
    return UsageError(
        f"{path} holds weights alone, {len(tensors)} tensors, and no computation",
        why=f"Its tensors are {', '.join(shown)}{more}",
        fix=fix,
    )


def as_torch(leaf: Leaf) -> Any:
    """A torch tensor over the mapped bytes; quantized ones with their scales."""
    import torch

    quantizer = getattr(leaf, "quantizer", None)
    plain = _plain(leaf.numpy())
    if quantizer is None:
        return plain
    if quantizer.axis is None:
        return torch._make_per_tensor_quantized_tensor(plain, quantizer.scale, quantizer.zero_point)
    scales, zeros = (torch.as_tensor(_numbers(item)) for item in (quantizer.scale, quantizer.zero_point))
    return torch._make_per_channel_quantized_tensor(plain, scales, zeros, quantizer.axis)


def _numbers(item: Any) -> Any:
    return item.numpy().copy() if hasattr(item, "numpy") else item


def _plain(array: Any) -> Any:
    """numpy to torch, the types that numpy lacks by their bits."""
    import warnings

    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the file is mapped read-only: nobody writes into weights here
        if hasattr(torch, array.dtype.name) and array.dtype.kind in "biufc":
            return torch.from_numpy(array)
        raw = torch.from_numpy(array.view(f"uint{8 * array.dtype.itemsize}"))
        return raw.view(getattr(torch, array.dtype.name))
