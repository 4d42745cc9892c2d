"""What a source is, and the registry of known ones (names are listed without importing their modules)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from bessemer.ir.errors import UsageError
from bessemer.ir.model import Model
from bessemer.runners.base import Runner

if TYPE_CHECKING:
    from bessemer.ir.checkpoint import Checkpoint


@dataclass(frozen=True)
class OpenOptions:
    """What a caller may say while opening a model.

    shapes: input name -> dims; an int binds the axis, a str names it, (low, high) is a range.
    signature: which signature of a file that holds several.
    original: what runs the original: its own `runtime`, the `reference` evaluator of its format, or whichever is there,
    the runtime first (`auto`).
    factory: 'module.py:function' that builds the module whose weights a state dict holds.
    task: what a Hugging Face model is exported for; None: what its architecture says.
    graph: how a language model becomes a graph: drawn from its architecture's `table`, traced by `torch`, or drawn where
    there is a table (`auto`).
    inputs, outputs: names that the model is cut at (see `passes.cut`); sources leave that to `opening.open_model`.
    config: a config.json that says more of a language model in a graph than the graph does.
    adapters: LoRA adapters that are merged into the weights, with factors; base: the model that an adapter is for, where
    the adapter itself is opened. `opening.open_checkpoint` does both.
    """

    shapes: Mapping[str, tuple[int | str | tuple[int, int], ...]] = field(default_factory=dict)
    signature: str | None = None
    original: Literal["auto", "runtime", "reference"] = "auto"
    factory: str | None = None
    task: str | None = None
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    graph: Literal["auto", "table", "torch"] = "auto"
    adapters: tuple[tuple[Path, float], ...] = ()
    base: Path | None = None
    config: Path | None = None


def split_factory(path: Path, factory: str | None) -> tuple[Path, str | None]:
    """'FILE.py:FUNCTION' in a model's place is the file, and a factory in it. Raises UsageError where two are said."""
    file, colon, _ = str(path).rpartition(".py:")
    if not colon or path.exists():
        return path, factory
    if factory is not None:
        raise UsageError(f"{path} names a factory, and --factory {factory} another", fix="Name one of them")
    return Path(f"{file}.py"), str(path)


HEAD = 4096
"""How many first bytes of a file a format is recognised by."""


@dataclass(frozen=True)
class Clue:
    """What a format is recognised by. head: the first bytes of a file, up to 4 KiB; empty for a directory."""

    path: Path
    head: bytes

    @cached_property
    def members(self) -> tuple[str, ...]:
        """Names in a zip archive (the first 2,000); empty for what is none, or a broken one."""
        import zipfile

        if not self.head.startswith(b"PK\x03\x04"):
            return ()
        try:
            with zipfile.ZipFile(self.path) as archive:
                return tuple(archive.namelist()[:2000])
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
            return ()

    @cached_property
    def entries(self) -> tuple[str, ...]:
        """Names in a directory; empty for a file."""
        return tuple(sorted(item.name for item in self.path.iterdir())) if self.path.is_dir() else ()


class Source(Protocol):
    """A readable format: the implementation behind a `SourceEntry`."""

    def open(self, path: Path, options: OpenOptions) -> Model:
        """Parse `path`. Raises UnreadableInput, UsageError or Declined (operators with no meaning in the hub)."""
        ...

    def runner(self, path: Path, options: OpenOptions) -> Runner:
        """The original in its own runtime. Raises MissingExtra."""
        ...


@dataclass(frozen=True)
class SourceEntry:
    """Declaration of a format: everything that lists, sniffs or documents formats reads this.

    sniff: whether what is known of a file or a directory looks like the format.
    module: where `SOURCE: Source` lives; imported on use.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    module: str
    sniff: Callable[[Clue], bool]
    summary: str
    reads: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    runtime: str = ""
    extra: str = ""
    warm: tuple[str, ...] = ()
    """Modules that running the original needs: imported in a child while the file is read."""
    arbiter: str = ""
    """'module:function' of the format's reference evaluator (a path to its Runner): it has the last word on what a
    file means where the runtime's answer and an artifact's differ."""
    channels_last: bool = False
    """Whether images stand as [batch, height, width, channels] by custom: `join` then asks where both orders would fit."""
    part: str = ""
    """'module:function' (path, options, tensor names -> Runner) of the original without what those tensors do not need:
    what a cut is verified on where the runtime refuses the whole file."""
    checker: str = ""
    """'module:function' of the format's own checker (a path to why it refuses the file, or '')."""
    stand_in: str = ""
    """'module:function' from a directory to the file of another format that stands for it; to None where none does."""
    page: str = ""
    """'module:function' that writes further lines of the format's docs page."""
    weights: bool = False
    """Whether it holds weights and settings, no graph: `inspect` shows it as such."""
    checkpoint: str = ""
    """'module:function' (path, options) -> Checkpoint: the file as named tensors, settings and a tokenizer. Raises
    UnreadableInput, UsageError and Declined; '' for formats that hold graphs alone."""

    def load(self) -> Source:
        """The implementation."""
        from importlib import import_module

        source: Source = import_module(self.module).SOURCE
        return source

    def open_checkpoint(self, path: Path, options: OpenOptions) -> Checkpoint | None:
        """The file as a checkpoint; None for a format that holds graphs alone. Raises as `checkpoint` says."""
        from importlib import import_module

        if not self.checkpoint:
            return None
        module, name = self.checkpoint.split(":")
        found: Checkpoint = getattr(import_module(module), name)(path, options)
        return found

    def part_runner(self, path: Path, options: OpenOptions, tensors: Sequence[str]) -> Runner | None:
        """The original up to the named tensors; None where the format has no such way. Raises RuntimeRefused."""
        from importlib import import_module

        if not self.part:
            return None
        module, name = self.part.split(":")
        runner: Runner = getattr(import_module(module), name)(path, options, tensors)
        return runner
