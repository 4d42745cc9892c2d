"""Where the fields of llama.cpp's parameter structs lie.

The C interface passes them by value and inserts fields from release to release. Each known layout is data: fields in order
with C type and default value. A library's layout is the one whose defaults its own `*_default_params` gives, all of them;
a library that gives others is refused. The facts are from llama.cpp's include/llama.h and from what those functions set.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bessemer.ir.errors import BessemerError

SIZE = 1024
"""Bytes that a struct is passed in: more than any layout has. Both System V and AArch64 pass large structs in memory, where
the callee reads its own fields and no further."""

Field = tuple[str, str, "float | None"]
"""(name, struct code, default; None: any)"""


class UnknownLibrary(BessemerError):
    """A libllama whose structs have no known layout."""

    exit_code = 6


@dataclass(frozen=True)
class Layout:
    """Places of the fields of a struct."""

    places: Mapping[str, tuple[int, str]]

    def put(self, data: bytearray, name: str, value: float) -> None:
        """Set a field in the struct's bytes. A field that this release lacks is left out: ask `has` where it matters."""
        if name in self.places:
            place, code = self.places[name]
            struct.pack_into(f"@{code}", data, place, value)

    def has(self, name: str) -> bool:
        """Whether this release has the field."""
        return name in self.places


def recognised(what: str, known: Sequence[Sequence[Field]], defaults: bytes, library: str) -> Layout:
    """The layout whose defaults stand in `defaults`. Raises UnknownLibrary for none."""
    for fields in known:
        layout = _placed(fields)
        if all(_holds(layout, defaults, field) for field in fields):
            return layout
    raise UnknownLibrary(
        f"The libllama in {library} is of a release that Bessemer does not know: {what} has other fields or defaults",
        fix="Take a current llama.cpp with scripts/llama_runtime.py, or name another with BESSEMER_LLAMA_CPP",
    )


def _holds(layout: Layout, data: bytes, field: Field) -> bool:
    name, _, default = field
    place, code = layout.places[name]
    return default is None or struct.unpack_from(f"@{code}", data, place)[0] == default


def _placed(fields: Sequence[Field]) -> Layout:
    places: dict[str, tuple[int, str]] = {}
    end = 0
    for name, code, _ in fields:
        width = struct.calcsize(f"@{code}")
        start = -(-end // width) * width
        places[name] = (start, code)
        end = start + width
    return Layout(places)


def _context(head: Sequence[Field], yarn: float, slow: float, fast: float) -> tuple[Field, ...]:
    """llama_context_params: what differs is its head and YaRN's defaults."""
    return (
        ("n_ctx", "I", 512), ("n_batch", "I", 2048), ("n_ubatch", "I", 512), ("n_seq_max", "I", 1),
        *head,
        ("rope_scaling_type", "i", -1), ("pooling_type", "i", -1), ("attention_type", "i", -1),
        ("flash_attn_type", "i", -1), ("rope_freq_base", "f", 0), ("rope_freq_scale", "f", 0),
        ("yarn_ext_factor", "f", -1), ("yarn_attn_factor", "f", yarn), ("yarn_beta_fast", "f", fast),
        ("yarn_beta_slow", "f", slow), ("yarn_orig_ctx", "I", 0), ("defrag_thold", "f", -1),
        ("cb_eval", "P", 0), ("cb_eval_user_data", "P", 0), ("type_k", "i", 1), ("type_v", "i", 1),
        ("abort_callback", "P", 0), ("abort_callback_data", "P", 0), ("embeddings", "?", 0), ("offload_kqv", "?", 1),
        ("no_perf", "?", 1), ("op_offload", "?", 1), ("swa_full", "?", 1), ("kv_unified", "?", 0),
    )  # fmt: skip


_THREADS: tuple[Field, ...] = (("n_threads", "i", None), ("n_threads_batch", "i", None))
_OUTPUTS: tuple[Field, ...] = (("n_rs_seq", "I", 0), ("n_outputs_max", "I", 0))
_TYPE: tuple[Field, ...] = (("ctx_type", "i", 0),)

CONTEXT = (
    _context((*_OUTPUTS, ("n_outputs_max_per_seq", "I", 1), *_THREADS, *_TYPE), -1, -1, -1),
    _context((*_OUTPUTS, *_THREADS, *_TYPE), -1, -1, -1),
    _context(_THREADS, -1, -1, -1),
)
"""llama_context_params: of release 0.5, of early 2026, of late 2025."""

_DEVICES: tuple[Field, ...] = (
    ("devices", "P", 0), ("tensor_buft_overrides", "P", 0), ("n_gpu_layers", "i", None), ("split_mode", "i", 1),
)  # fmt: skip
_POINTERS: tuple[Field, ...] = (
    ("tensor_split", "P", 0), ("progress_callback", "P", 0), ("progress_callback_user_data", "P", 0),
    ("kv_overrides", "P", 0),
)  # fmt: skip

MODEL = (
    (
        *_DEVICES, ("load_mode", "i", -1), ("lazy_mode", "i", 1), ("main_gpu", "i", 0), *_POINTERS,
        ("vocab_only", "?", 0), ("check_tensors", "?", 0), ("use_extra_bufts", "?", 1), ("no_host", "?", 0),
    ),
    (
        *_DEVICES, ("main_gpu", "i", 0), *_POINTERS, ("vocab_only", "?", 0), ("use_mmap", "?", 1),
        ("use_direct_io", "?", 0), ("use_mlock", "?", 0), ("check_tensors", "?", 0), ("use_extra_bufts", "?", 1),
    ),
    (
        *_DEVICES, ("main_gpu", "i", 0), *_POINTERS, ("vocab_only", "?", 0), ("use_mmap", "?", 1),
        ("use_mlock", "?", 0), ("check_tensors", "?", 0), ("use_extra_bufts", "?", 1),
    ),
)  # fmt: skip
"""llama_model_params: of release 0.5, of early 2026, of late 2025."""

QUANTIZE = (
    (
        ("nthread", "i", 0), ("ftype", "i", 7), ("output_tensor_type", "i", None), ("token_embedding_type", "i", None),
        ("allow_requantize", "?", 0), ("quantize_output_tensor", "?", 1), ("only_copy", "?", 0), ("pure", "?", 0),
        ("keep_split", "?", 0), ("dry_run", "?", 0), ("imatrix", "P", 0), ("kv_overrides", "P", 0),
        ("tt_overrides", "P", 0), ("prune_layers", "P", 0), ("max_buf_size", "N", 8 << 30),
    ),
)  # fmt: skip
"""llama_model_quantize_params: of release 0.5; those before, without `max_buf_size`, took a C++ map as `imatrix`."""
