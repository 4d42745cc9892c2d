"""`Checkpoint`: named tensors that are read when they are wanted, an architecture's settings and a tokenizer; no graph.

The hub form is Hugging Face's: its tensor names and shapes, the keys of its config.json. A source that holds something
else (GGUF, llama2.c) brings its tensors into that form by the declarations in `bessemer.architectures`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bessemer.ir.model import Origin

if TYPE_CHECKING:
    from bessemer.ir.tokenizer import Tokenizer

Bytes = npt.NDArray[np.uint8]
Read = Callable[[int, int], Bytes]
"""(first row, row after the last) -> their bytes as stored, little endian, [rows, bytes of a row]. Safe in threads."""


@dataclass(frozen=True)
class Lazy:
    """A tensor that is read by rows: a row is the last axis; all other axes together count the rows.

    shape: numpy's order (the last axis lies side by side); type: a name in `wire.gguf.types.BY_NAME` ('BF16', 'Q4_K'), or
    another plain type by numpy's name in capitals ('U8', 'BOOL', 'F8_E4M3'); row_bytes: bytes of one stored row;
    read: the rows' bytes, read from the file anew at every call, so that memory stays bounded.
    """

    name: str
    shape: tuple[int, ...]
    type: str
    row_bytes: int
    read: Read = field(repr=False, compare=False)

    @property
    def columns(self) -> int:
        """Elements of a row."""
        return self.shape[-1] if self.shape else 1

    @property
    def rows(self) -> int:
        """How many rows; 1 for a vector or a number."""
        return prod(self.shape[:-1])

    @property
    def size(self) -> int:
        """Elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes as stored."""
        return self.rows * self.row_bytes


@dataclass(frozen=True)
class Adapter:
    """What makes a checkpoint a LoRA adapter: `W + scale * B @ A` for each pair of tensors that it holds.

    config: PEFT's adapter_config.json (r, lora_alpha, target_modules, base_model_name_or_path, ...).
    base: the model that it is for, where the user named one.
    """

    config: Mapping[str, Any]
    base: Checkpoint | None = None


@dataclass
class Checkpoint:
    """tensors: Hugging Face's names -> tensors in its layout; config: config.json ({} where nobody knows the architecture);
    tokenizer: None where there is none; generation: generation_config.json;
    general: facts for people that formats carry (name, author, license, description, tags), by GGUF's 'general.' keys;
    companions: further files that go along.
    records: the format's own file where it is GGUF (`sources.gguf.records.Records`): written to GGUF again, what the
    architecture's table does not know is passed on as it is.
    """

    tensors: dict[str, Lazy]
    config: dict[str, Any]
    tokenizer: Tokenizer | None
    origin: Origin
    generation: dict[str, Any] = field(default_factory=dict)
    general: dict[str, Any] = field(default_factory=dict)
    adapter: Adapter | None = None
    notes: list[str] = field(default_factory=list)
    companions: tuple[Path, ...] = ()
    records: Any = None

    @property
    def parameters(self) -> int:
        """Elements of all tensors."""
        return sum(tensor.size for tensor in self.tensors.values())
