"""The child's side: one model in libllama, and llama.cpp's quantizer."""

from __future__ import annotations

import ctypes as c
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bessemer.ir.errors import RuntimeRefused, UsageError
from bessemer.ir.signature import Signature, TensorSpec
from bessemer.ir.types import Array
from bessemer.runners.llama.library import Batch, Library

F32 = 0
"""ggml's number of the type: keys and values are kept in full, so that only the weights' types show."""
LOGITS, EMBEDDINGS, POOLED = "logits", "embeddings", "pooled"
NO_POOLING, OWN_POOLING = 0, -1
PHYSICAL_BATCH = 512
EACH = 20 << 20
"""Bytes of weights that keep one thread busy."""
PADDING = 256
"""llama.cpp rounds a context up to this many tokens."""


class Model:
    """A GGUF file in libllama, on the processor. One context at a time, made anew when a longer or another is asked for.

    vocabulary_only: the tokenizer alone, no weights. threads 0: as many as the weights keep busy.
    adapters: LoRA files (GGUF) with their factors. Raises RuntimeRefused with what the library says.
    """

    def __init__(
        self,
        path: str,
        vocabulary_only: bool = False,
        threads: int = 0,
        adapters: Sequence[tuple[str, float]] = (),
    ) -> None:
        self.library = Library()
        self.path = path
        self.threads = threads or _threads(path)
        self.vocabulary_only = vocabulary_only
        wanted = {"vocab_only": float(vocabulary_only), "n_gpu_layers": 0}
        params = self.library.params("llama_model_default_params", self.library.model, wanted)
        self.call = self.library.call
        self.model = self.call.llama_model_load_from_file(os.fsencode(path), params)
        if not self.model:
            raise self.library.refusal(f"llama.cpp would not load {os.path.basename(path)}")
        self.vocab = self.call.llama_model_get_vocab(self.model)
        self.vocabulary = int(self.call.llama_vocab_n_tokens(self.vocab))
        self.adapters = [(self._adapter(name), scale) for name, scale in adapters]
        self.held: Any = None
        self._kind, self._room = "", 0

    @property
    def runtime(self) -> str:
        """'llama.cpp 0.5.0'."""
        return self.library.runtime

    @property
    def signature(self) -> Signature:
        """Token numbers in, logits of every position out."""
        return Signature(
            (TensorSpec("input_ids", "int64", (1, None)),),
            (TensorSpec("logits", "float32", (1, None, self.vocabulary)),),
        )

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """input_ids [1, n] -> logits [1, n, vocabulary]."""
        return {"logits": self.logits([int(token) for token in inputs["input_ids"].reshape(-1)])[None]}

    def tap(self, inputs: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
        """libllama gives no values from inside."""
        return {}

    def facts(self) -> dict[str, Any]:
        """What the model is: its vocabulary's size, trained context, description, and which halves it has."""
        return {
            "vocabulary": self.vocabulary,
            "context": int(self.call.llama_model_n_ctx_train(self.model)),
            "hidden": int(self.call.llama_model_n_embd(self.model)),
            "encoder": bool(self.call.llama_model_has_encoder(self.model)),
            "decoder": bool(self.call.llama_model_has_decoder(self.model)),
            "recurrent": bool(self.call.llama_model_is_recurrent(self.model)),
            "description": self._text(self.call.llama_model_desc, self.model),
            "start": int(self.call.llama_model_decoder_start_token(self.model)),
            "adds_bos": bool(self.call.llama_vocab_get_add_bos(self.vocab)),
            "adds_eos": bool(self.call.llama_vocab_get_add_eos(self.vocab)),
        }

    def metadata(self) -> dict[str, str]:
        """The file's metadata as the library prints it."""
        found = {}
        for index in range(self.call.llama_model_meta_count(self.model)):
            key = self._text(self.call.llama_model_meta_key_by_index, self.model, index)
            found[key] = self._text(self.call.llama_model_meta_val_str_by_index, self.model, index)
        return found

    def tokenize(
        self, texts: Sequence[str], add_special: bool = True, parse_special: bool = True
    ) -> list[list[int]]:
        """Token numbers of each text."""
        return [
            self._tokens(text.encode("utf-8", "surrogatepass"), add_special, parse_special) for text in texts
        ]

    def pieces(self, tokens: Sequence[int], special: bool = True) -> list[bytes]:
        """The bytes that each token stands for, special tokens spelled out."""
        return [self._piece(token, special) for token in tokens]

    def detokenize(self, tokens: Sequence[int], special: bool = False) -> str:
        """The text of tokens; special ones spelled out or left away."""
        held = np.asarray(tokens, np.int32)
        room = 16 * len(held) + 64
        for _ in range(2):
            buffer = c.create_string_buffer(room)
            size = self.call.llama_detokenize(
                self.vocab, _address(held), len(held), buffer, room, not special, special
            )
            if size >= 0:
                return buffer.raw[:size].decode("utf-8", "replace")
            room = -size
        raise self.library.refusal("llama.cpp would not spell tokens")

    def begin(self, length: int, source: Sequence[int] = ()) -> None:
        """Forget what was read, and make room for `length` tokens. source: what an encoder reads first."""
        self._need(LOGITS, max(length, len(source)))
        if source:
            self._feed(self.call.llama_encode, source, every=True)

    def next(self, tokens: Sequence[int]) -> Array:
        """Logits [n, vocabulary] of tokens that follow those read since `begin`."""
        self._feed(self.call.llama_decode, tokens, every=True)
        return self._logits(len(tokens))

    def logits(self, tokens: Sequence[int], source: Sequence[int] = ()) -> Array:
        """Logits [n, vocabulary] of every position."""
        self.begin(len(tokens), source)
        step = PHYSICAL_BATCH
        parts = [self.next(tokens[start : start + step]) for start in range(0, max(1, len(tokens)), step)]
        return np.concatenate(parts)

    def generate(
        self, tokens: Sequence[int], count: int, source: Sequence[int] = (), stop: bool = True
    ) -> list[int]:
        """`count` tokens after `tokens`, each time the likeliest one; ends early at an end-of-generation token if `stop`."""
        self.begin(len(tokens) + count, source)
        made: list[int] = []
        feed = list(tokens)
        while len(made) < count:
            self._feed(self.call.llama_decode, feed, every=False)
            token = int(np.argmax(self._logits(1)[0]))
            made.append(token)
            feed = [token]
            if stop and self.call.llama_vocab_is_eog(self.vocab, token):
                break
        return made

    def embeddings(self, tokens: Sequence[int], pooled: bool = False) -> Array:
        """What the last layer gives: [n, hidden], or [hidden] pooled as the file says."""
        self._need(POOLED if pooled else EMBEDDINGS, len(tokens))
        encodes = self.call.llama_model_has_encoder(self.model)  # T5's kind; BERT's is all the library's 'decoder' does
        self._feed(self.call.llama_encode if encodes else self.call.llama_decode, tokens, every=True)
        hidden = int(self.call.llama_model_n_embd(self.model))
        if pooled and self.call.llama_pooling_type(self.held) != NO_POOLING:
            return _copied(self.call.llama_get_embeddings_seq(self.held, 0), (hidden,), self.path)
        return _copied(self.call.llama_get_embeddings(self.held), (len(tokens), hidden), self.path)

    def _adapter(self, path: str) -> Any:
        adapter = self.call.llama_adapter_lora_init(self.model, os.fsencode(path))
        if not adapter:
            raise self.library.refusal(f"llama.cpp would not load the adapter {os.path.basename(path)}")
        return adapter

    def _need(self, kind: str, length: int) -> None:
        if self.vocabulary_only:
            raise UsageError("A model that was loaded for its vocabulary alone computes nothing")
        if self.held is None or kind != self._kind or length > self._room:
            self._make(kind, length)
            return
        memory = self.call.llama_get_memory(self.held)
        if memory:
            self.call.llama_memory_clear(memory, True)

    def _make(self, kind: str, length: int) -> None:
        if self.held is not None:
            self.call.llama_free(self.held)
            self.held = None
        room = max(1, -(-length // PADDING)) * PADDING
        batch = room if kind != LOGITS or self._reads_whole() else min(room, PHYSICAL_BATCH)
        wanted = {
            "n_ctx": room, "n_batch": batch, "n_ubatch": batch, "n_outputs_max_per_seq": 0, "n_threads": self.threads,
            "n_threads_batch": self.threads, "type_k": F32, "type_v": F32, "flash_attn_type": 0,
            "embeddings": float(kind != LOGITS), "pooling_type": OWN_POOLING if kind == POOLED else NO_POOLING,
        }  # fmt: skip
        params = self.library.params("llama_context_default_params", self.library.context, wanted)
        self.held = self.call.llama_init_from_model(self.model, params)
        if not self.held:
            raise self.library.refusal(f"llama.cpp made no context of {room} tokens")
        self._kind, self._room = kind, room
        self._adapt()

    def _reads_whole(self) -> bool:
        return bool(self.call.llama_model_has_encoder(self.model))

    def _adapt(self) -> None:
        if not self.adapters:
            return
        handles = (c.c_void_p * len(self.adapters))(*(handle for handle, _ in self.adapters))
        scales = (c.c_float * len(self.adapters))(*(scale for _, scale in self.adapters))
        if hasattr(self.call, "llama_set_adapters_lora"):
            state = self.call.llama_set_adapters_lora(self.held, handles, len(self.adapters), scales)
        else:
            state = sum(self.call.llama_set_adapter_lora(self.held, held, by) for held, by in self.adapters)
        if state:
            raise self.library.refusal("llama.cpp would not apply the adapters")

    def _feed(self, function: Any, tokens: Sequence[int], *, every: bool) -> None:
        """Read tokens in batches; `every`: outputs of all of them, else of the last."""
        held = np.asarray(tokens, np.int32)
        if not len(held) or held.min() < 0 or held.max() >= self.vocabulary:
            raise UsageError(f"Token numbers must be in 0 .. {self.vocabulary - 1}, and there must be one")
        step = len(held) if every else PHYSICAL_BATCH
        for start in range(0, len(held), step):
            part = np.ascontiguousarray(held[start : start + step])
            outputs = np.full(len(part), every, np.int8)
            outputs[-1] = 1
            batch = Batch(len(part), _address(part), None, None, None, None, _address(outputs))
            if state := function(self.held, batch):
                raise self.library.refusal(f"llama.cpp gave up on {len(part)} tokens (state {state})")

    def _logits(self, rows: int) -> Array:
        return _copied(self.call.llama_get_logits(self.held), (rows, self.vocabulary), self.path)

    def _tokens(self, text: bytes, add_special: bool, parse_special: bool) -> list[int]:
        room = len(text) + 16
        for _ in range(2):
            held = np.empty(room, np.int32)
            count = self.call.llama_tokenize(
                self.vocab, text, len(text), _address(held), room, add_special, parse_special
            )
            if count >= 0:
                return [int(token) for token in held[:count]]
            room = -count
        raise self.library.refusal("llama.cpp would not tokenize a text")

    def _piece(self, token: int, special: bool) -> bytes:
        room = 64
        for _ in range(2):
            buffer = c.create_string_buffer(room)
            size = self.call.llama_token_to_piece(self.vocab, token, buffer, room, 0, special)
            if size >= 0:
                return buffer.raw[:size]
            room = -size
        raise self.library.refusal(f"llama.cpp would not spell token {token}")

    def _text(self, function: Any, *arguments: Any) -> str:
        room = 256
        while True:
            buffer = c.create_string_buffer(room)
            size = function(*arguments, buffer, room)
            if size < room:
                return buffer.value.decode("utf-8", "replace")
            room = size + 1


class ImatrixData(c.Structure):
    """llama_model_imatrix_data."""

    _fields_ = (("name", c.c_char_p), ("data", c.c_void_p), ("size", c.c_size_t))


class Quantizer:
    """llama.cpp's own quantizer, as an oracle and for benchmarks."""

    def __init__(self) -> None:
        self.library = Library()

    @property
    def runtime(self) -> str:
        """'llama.cpp 0.5.0'."""
        return self.library.runtime

    @property
    def signature(self) -> Signature:
        """It has no tensors at its border."""
        return Signature((), ())

    def quantize(
        self, path: str, out: str, options: Mapping[str, float], importance: Mapping[str, Array] | None = None
    ) -> None:
        """Quantize a GGUF file. options: fields of llama_model_quantize_params. Raises RuntimeRefused."""
        layout = self.library.quantize_layout()
        unknown = [name for name in options if not layout.has(name)]
        if unknown:
            raise UsageError(f"llama.cpp's quantizer has no option {', '.join(unknown)}")
        kept = [
            (name.encode(), np.ascontiguousarray(held, np.float32))
            for name, held in (importance or {}).items()
        ]
        rows = [ImatrixData(name, held.ctypes.data, held.size) for name, held in kept]
        table = (ImatrixData * (len(rows) + 1))(*rows)
        values = dict(options)
        if rows:
            values["imatrix"] = c.addressof(table)
        params = self.library.params("llama_model_quantize_default_params", layout, values)
        if self.library.call.llama_model_quantize(os.fsencode(path), os.fsencode(out), c.byref(params)):
            raise self.library.refusal(f"llama.cpp would not quantize {os.path.basename(path)}")


def _threads(path: str) -> int:
    """As many as a file of this size keeps busy: they wait for one another by spinning, many times for each token."""
    size = os.path.getsize(path) if os.path.isfile(path) else 0
    return max(1, min(len(os.sched_getaffinity(0)), size // EACH))


def _address(array: Array) -> int:
    return int(array.ctypes.data)


def _copied(pointer: Any, shape: tuple[int, ...], path: str) -> Array:
    if not pointer:
        raise RuntimeRefused(f"llama.cpp gave no result for {os.path.basename(path)}")
    found: Array = np.ctypeslib.as_array(pointer, shape).copy()
    return found
