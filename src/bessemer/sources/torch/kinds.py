"""Which of PyTorch's files a file is, by its content. Imports nothing heavy: sniffing asks here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from bessemer.sources.base import Clue

Kind = Literal["program", "script", "weights", "safetensors", "module", ""]

SUFFIXES = (".pt", ".pth", ".pt2", ".bin", ".th", ".tar", ".ckpt", ".pkl", ".pickle", ".safetensors")
PICKLES = tuple(b"\x80" + bytes([protocol]) for protocol in range(2, 6))
PROTOCOL_0 = b"(]}lcdi"
"""First instructions of pickles that say no protocol: told apart from texts by the file's name alone."""


def kind_of(clue: Clue) -> Kind:
    """'program' is a .pt2, 'script' TorchScript, 'weights' a pickled state, 'module' Python code; '' is none of torch's."""
    names = clue.members
    if names:
        return _zipped(names)
    if clue.head[8:9] == b"{" and b'"' in clue.head[9:12] and 2 <= int.from_bytes(clue.head[:8], "little") < 1 << 30:
        return "safetensors"
    if clue.head[:2] in PICKLES:
        return "weights"
    suffix = clue.path.suffix.lower()
    if suffix == ".py":
        return "module"
    text = all(32 <= byte < 127 or byte in b"\t\n\r" for byte in clue.head[:64])
    plain = suffix in SUFFIXES and text and clue.head[:1] and clue.head[:1] in PROTOCOL_0
    return "weights" if plain and not clue.path.is_dir() else ""


def _zipped(names: tuple[str, ...]) -> Kind:
    inner = {name.partition("/")[2] or name for name in names}
    if "serialized_exported_program.json" in {name.rpartition("/")[2] for name in names}:
        return "program"
    if "archive_format" in inner and any(name.startswith("models/") for name in inner):
        return "program"
    if "data.pkl" not in inner:
        return ""
    return "script" if "constants.pkl" in inner and any(name.startswith("code/") for name in inner) else "weights"


def is_torch(clue: Clue) -> bool:
    """Whether torch made the file, or it is Python code that may."""
    return bool(kind_of(clue))
