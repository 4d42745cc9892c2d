"""libllama by ctypes: our own declarations of the part of its C interface (include/llama.h) that stays the same.

Only a child process loads it (`runners.isolated`): a library that crashes on a file takes nobody along.
"""

from __future__ import annotations

import ctypes as c
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bessemer.ir.errors import RuntimeRefused
from bessemer.runners.llama.layouts import CONTEXT, MODEL, QUANTIZE, SIZE, Field, Layout, recognised
from bessemer.runners.llama.place import find, version

ERROR = 4
"""Level of ggml's log from which lines are kept."""


class Params(c.Structure):
    """Any parameter struct, in more room than it needs."""

    _fields_ = (("data", c.c_byte * SIZE), ("_aligned", c.c_longlong))


class Batch(c.Structure):
    """llama_batch."""

    _fields_ = (
        ("n_tokens", c.c_int32),
        ("token", c.c_void_p),
        ("embd", c.c_void_p),
        ("pos", c.c_void_p),
        ("n_seq_id", c.c_void_p),
        ("seq_id", c.c_void_p),
        ("logits", c.c_void_p),
    )


LogCallback = c.CFUNCTYPE(None, c.c_int, c.c_char_p, c.c_void_p)

_P, _I, _B, _S, _Z = c.c_void_p, c.c_int32, c.c_bool, c.c_char_p, c.c_size_t
_F = c.POINTER(c.c_float)
_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "llama_backend_init": (None, ()),
    "llama_log_set": (None, (LogCallback, _P)),
    "llama_model_default_params": (Params, ()),
    "llama_context_default_params": (Params, ()),
    "llama_model_quantize_default_params": (Params, ()),
    "llama_model_load_from_file": (_P, (_S, Params)),
    "llama_model_free": (None, (_P,)),
    "llama_init_from_model": (_P, (_P, Params)),
    "llama_free": (None, (_P,)),
    "llama_model_get_vocab": (_P, (_P,)),
    "llama_model_n_ctx_train": (_I, (_P,)),
    "llama_model_n_embd": (_I, (_P,)),
    "llama_model_has_encoder": (_B, (_P,)),
    "llama_model_has_decoder": (_B, (_P,)),
    "llama_model_decoder_start_token": (_I, (_P,)),
    "llama_model_is_recurrent": (_B, (_P,)),
    "llama_model_desc": (_I, (_P, _S, _Z)),
    "llama_model_meta_count": (_I, (_P,)),
    "llama_model_meta_key_by_index": (_I, (_P, _I, _S, _Z)),
    "llama_model_meta_val_str_by_index": (_I, (_P, _I, _S, _Z)),
    "llama_vocab_n_tokens": (_I, (_P,)),
    "llama_vocab_is_eog": (_B, (_P, _I)),
    "llama_vocab_get_add_bos": (_B, (_P,)),
    "llama_vocab_get_add_eos": (_B, (_P,)),
    "llama_tokenize": (_I, (_P, _S, _I, _P, _I, _B, _B)),
    "llama_token_to_piece": (_I, (_P, _I, _S, _I, _I, _B)),
    "llama_detokenize": (_I, (_P, _P, _I, _S, _I, _B, _B)),
    "llama_encode": (_I, (_P, Batch)),
    "llama_decode": (_I, (_P, Batch)),
    "llama_get_logits": (_F, (_P,)),
    "llama_get_embeddings": (_F, (_P,)),
    "llama_get_embeddings_seq": (_F, (_P, _I)),
    "llama_pooling_type": (_I, (_P,)),
    "llama_get_memory": (_P, (_P,)),
    "llama_memory_clear": (None, (_P, _B)),
    "llama_adapter_lora_init": (_P, (_P, _S)),
    "llama_model_quantize": (c.c_uint32, (_S, _S, _P)),
    "llama_print_system_info": (_S, ()),
}
_OPTIONAL: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "llama_set_adapters_lora": (_I, (_P, _P, _Z, _P)),
    "llama_set_adapter_lora": (_I, (_P, _P, c.c_float)),
}


class Library:
    """A loaded libllama. `call` is its functions; what it logs as errors is kept for `refusal`."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = find() if path is None else path
        self.errors: list[str] = []
        preload(self.path.parent)
        self.call: Any = c.CDLL(str(self.path), mode=c.RTLD_GLOBAL)
        _declare(self.call, str(self.path))
        self._log = LogCallback(self._logged)
        self.call.llama_log_set(self._log, None)
        self.call.llama_backend_init()
        _load_backends(self.path.parent)
        self.context = self._layout("llama_context_default_params", CONTEXT)
        self.model = self._layout("llama_model_default_params", MODEL)

    @property
    def runtime(self) -> str:
        """'llama.cpp 0.5.0'."""
        return f"llama.cpp {version(self.path)}".rstrip()

    def params(self, function: str, layout: Layout, values: Mapping[str, float]) -> Params:
        """A parameter struct: the library's defaults with `values` in their places."""
        data = bytearray(bytes(getattr(self.call, function)()))
        for name, value in values.items():
            layout.put(data, name, value)
        return Params.from_buffer_copy(data)

    def quantize_layout(self) -> Layout:
        """Where the quantizer's options lie. Raises UnknownLibrary."""
        return self._layout("llama_model_quantize_default_params", QUANTIZE)

    def refusal(self, what: str) -> RuntimeRefused:
        """An error with what the library logged."""
        why = " ".join(" ".join(line.split()) for line in self.errors[-4:])
        return RuntimeRefused(what, why=f"It says: {why}" if why else "")

    def _layout(self, function: str, known: Sequence[Sequence[Field]]) -> Layout:
        return recognised(function, known, bytes(getattr(self.call, function)()), str(self.path))

    def _logged(self, level: int, text: bytes | None, _: object) -> None:
        if level >= ERROR and text and text.strip() and len(self.errors) < 100:
            self.errors.append(text.decode("utf-8", "replace"))


def preload(folder: Path) -> list[Any]:
    """Load the ggml libraries beside libllama, those that others need first: a build may have been moved from the folder
    that it was linked for."""
    loaded = []
    for pattern in ("libggml-base.*", "libggml-cpu.*", "libggml.*"):
        for path in sorted(folder.glob(pattern), key=lambda found: len(found.name))[:1]:
            with suppress(OSError):  # a backend that this machine cannot load is not needed
                loaded.append(c.CDLL(str(path), mode=c.RTLD_GLOBAL))
    return loaded


def _declare(library: Any, path: str) -> None:
    missing = [name for name in _SIGNATURES if not hasattr(library, name)]
    if missing:
        raise RuntimeRefused(
            f"The libllama in {path} lacks {', '.join(missing[:4])}",
            fix="Take a current llama.cpp with scripts/llama_runtime.py",
        )
    optional = {name: held for name, held in _OPTIONAL.items() if hasattr(library, name)}
    for name, (result, arguments) in (_SIGNATURES | optional).items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments


def _load_backends(folder: Path) -> None:
    """Builds that choose the kernels by the processor at run time hold them in libraries of their own."""
    for path in sorted(folder.glob("libggml.*"), key=lambda found: len(found.name))[:1]:
        ggml = c.CDLL(str(path), mode=c.RTLD_GLOBAL)
        ggml.ggml_backend_reg_count.restype = c.c_size_t
        if not ggml.ggml_backend_reg_count():
            ggml.ggml_backend_load_all_from_path(str(folder).encode())
