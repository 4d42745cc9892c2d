"""The caller's side: a model in libllama in a child process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from os import PathLike, fspath
from typing import Any

from bessemer.ir.errors import UsageError
from bessemer.ir.types import Array
from bessemer.runners.isolated import IsolatedRunner
from bessemer.runners.llama.place import find

CHUNK_BYTES = 32 << 20
"""Logits that cross to the caller at once."""
START_LIMIT = 1800.0
"""Seconds that one request may take: a large model's first pages come from the disk."""

FTYPES = {
    "F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10, "Q3_K_S": 11, "Q3_K_M": 12,
    "Q3_K_L": 13, "Q4_K_S": 14, "Q4_K_M": 15, "Q5_K_S": 16, "Q5_K_M": 17, "Q6_K": 18, "IQ2_XXS": 19, "IQ2_XS": 20,
    "Q2_K_S": 21, "IQ3_XS": 22, "IQ3_XXS": 23, "IQ1_S": 24, "IQ4_NL": 25, "IQ3_S": 26, "IQ3_M": 27, "IQ2_S": 28,
    "IQ2_M": 29, "IQ4_XS": 30, "IQ1_M": 31, "BF16": 32, "TQ1_0": 36, "TQ2_0": 37, "MXFP4_MOE": 38,
}  # fmt: skip
"""Name of a mix -> `general.file_type` (llama.h's llama_ftype)."""


class Llama:
    """A GGUF file in libllama, in a process of its own. Errors surface at first use: RuntimeDied where the library crashed,
    RuntimeRefused with its words where it refused the file, LlamaMissing where there is none.

    vocabulary_only: the tokenizer alone, no weights. threads 0: as many as the weights keep busy.
    adapters: LoRA files (GGUF) and factors.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        vocabulary_only: bool = False,
        threads: int = 0,
        adapters: Sequence[tuple[str | PathLike[str], float]] = (),
    ) -> None:
        find()
        files = tuple((fspath(name), float(scale)) for name, scale in adapters)
        self._child = IsolatedRunner(
            "bessemer.runners.llama.model:Model",
            fspath(path),
            vocabulary_only,
            threads,
            files,
            limit=START_LIMIT,
        )

    def __enter__(self) -> Llama:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the child; safe to call twice."""
        self._child.close()

    @property
    def runner(self) -> IsolatedRunner:
        """The same model as a Runner: input_ids in, logits out."""
        return self._child

    @property
    def runtime(self) -> str:
        """'llama.cpp 0.5.0'."""
        return self._child.runtime

    @cached_property
    def facts(self) -> dict[str, Any]:
        """vocabulary, context (trained), hidden, encoder, decoder, recurrent, description, start, adds_bos, adds_eos."""
        found: dict[str, Any] = self._child.ask("facts")
        return found

    @cached_property
    def metadata(self) -> dict[str, str]:
        """The file's metadata as the library prints it."""
        found: dict[str, str] = self._child.ask("metadata")
        return found

    @property
    def peak_bytes(self) -> int:
        """Peak resident memory of the child."""
        return self._child.peak_bytes

    def tokenize(
        self, texts: Sequence[str], *, add_special: bool = True, parse_special: bool = True
    ) -> list[list[int]]:
        """Token numbers of each text."""
        found: list[list[int]] = self._child.ask(
            "tokenize", texts=list(texts), add_special=add_special, parse_special=parse_special
        )
        return found

    def pieces(self, tokens: Sequence[int], *, special: bool = True) -> list[bytes]:
        """The bytes that each token stands for, special tokens spelled out."""
        found: list[bytes] = self._child.ask("pieces", tokens=list(tokens), special=special)
        return found

    def detokenize(self, tokens: Sequence[int], *, special: bool = False) -> str:
        """The text of tokens; special ones spelled out or left away."""
        return str(self._child.ask("detokenize", tokens=list(tokens), special=special))

    def logits(self, tokens: Sequence[int], source: Sequence[int] = ()) -> Array:
        """Logits float32 [n, vocabulary] of every position. source: what an encoder reads first (T5)."""
        found: Array = self._child.ask("logits", tokens=list(tokens), source=list(source))
        return found

    def stream(self, tokens: Sequence[int], source: Sequence[int] = ()) -> Iterator[Array]:
        """The same logits in parts of some rows, so that neither side holds all."""
        step = max(1, min(512, CHUNK_BYTES // (4 * int(self.facts["vocabulary"]))))
        self._child.ask("begin", length=len(tokens), source=list(source))
        for start in range(0, len(tokens), step):
            yield self._child.ask("next", tokens=list(tokens[start : start + step]))

    def generate(
        self, tokens: Sequence[int], count: int, *, source: Sequence[int] = (), stop: bool = True
    ) -> list[int]:
        """`count` tokens after `tokens`, each the likeliest; ends early at an end-of-generation token if `stop`."""
        found: list[int] = self._child.ask(
            "generate", tokens=list(tokens), count=count, source=list(source), stop=stop
        )
        return found

    def embeddings(self, tokens: Sequence[int], *, pooled: bool = False) -> Array:
        """What the last layer gives: float32 [n, hidden], or [hidden] pooled as the file says."""
        found: Array = self._child.ask("embeddings", tokens=list(tokens), pooled=pooled)
        return found


def quantize(
    path: str | PathLike[str],
    out: str | PathLike[str],
    kind: str,
    *,
    importance: Mapping[str, Array] | None = None,
    threads: int = 0,
    **options: float,
) -> None:
    """llama.cpp's own quantizer (llama_model_quantize), for tests and benchmarks. kind: a name in `FTYPES`; importance:
    tensor -> float32 [columns times experts]; options: further fields of its parameters (pure=True, allow_requantize=True).
    Raises UsageError, RuntimeRefused, RuntimeDied, LlamaMissing."""
    find()
    if kind not in FTYPES:
        raise UsageError(f"'{kind}' is no mix of llama.cpp", fix=f"One of {', '.join(FTYPES)}")
    held = {"ftype": FTYPES[kind], "nthread": threads, **options}
    with IsolatedRunner("bessemer.runners.llama.model:Quantizer", limit=START_LIMIT) as child:
        child.ask(
            "quantize", path=fspath(path), out=fspath(out), options=held, importance=dict(importance or {})
        )
