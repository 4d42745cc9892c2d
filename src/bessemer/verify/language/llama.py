"""A GGUF file in llama.cpp, as one side of a comparison."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from pathlib import Path

from bessemer.ir.types import Array
from bessemer.runners.llama import Llama
from bessemer.verify.language.subjects import Arithmetic, Kind, Window, Words, halves
from bessemer.wire.gguf.types import BY_NAME

COARSENESS: tuple[Arithmetic, ...] = ("F32", "F16", "BF16", "Q8")
SMOOTH = {
    "llama", "qwen2", "qwen2moe", "qwen3", "qwen3moe", "phi3", "granite", "olmo", "olmo2", "stablelm", "deepseek2",
    "smollm3",
}  # fmt: skip
"""Architectures whose activation is SiLU. GELU is looked up in a table of F16, whatever the weights are."""


class LlamaSubject:
    """types: names of the types that the file's tensors have; none of a tokenizer alone. adapters: LoRA files (GGUF) and
    factors. See `Subject`."""

    def __init__(
        self,
        path: Path,
        types: Collection[str],
        *,
        threads: int = 0,
        adapters: Sequence[tuple[Path, float]] = (),
    ) -> None:
        self._model = Llama(path, threads=threads, adapters=adapters, vocabulary_only=not types)
        self._types = tuple(types)

    @property
    def runtime(self) -> str:
        """'llama.cpp 0.5.0'."""
        return self._model.runtime

    @cached_property
    def arithmetic(self) -> Arithmetic:
        """The coarsest rounding of its kernels for this file."""
        least: Arithmetic = "F32" if self._architecture in SMOOTH else "F16"
        return max(least, arithmetic(self._types), key=COARSENESS.index)

    @property
    def kind(self) -> Kind:
        """By which halves it has, and whether it generates."""
        facts = self._model.facts
        if facts["encoder"] and facts["decoder"]:
            return "seq2seq"
        causal = self._model.metadata.get(f"{self._architecture}.attention.causal", "true")
        alone = facts["encoder"] or causal == "false" or "bert" in self._architecture
        return "encoder" if alone else "causal"

    @property
    def vocabulary(self) -> int:
        """Size of the logits."""
        return int(self._model.facts["vocabulary"])

    @property
    def context(self) -> int:
        """What it was trained for."""
        return int(self._model.facts["context"])

    @property
    def start(self) -> int:
        """Of a decoder behind an encoder."""
        return int(self._model.facts["start"])

    @cached_property
    def words(self) -> Words | None:
        """The file's tokenizer, as llama.cpp reads it."""
        if self._model.metadata.get("tokenizer.ggml.model", "none") in ("none", "no_vocab"):
            return None
        plain, whole = (self._model.tokenize(["a"], add_special=wrapped)[0] for wrapped in (False, True))
        places = [at for at in range(len(whole)) if whole[at : at + len(plain)] == plain]
        if not places:
            return Words(self._encode, name="llama.cpp")
        before, behind = whole[: places[0]], whole[places[0] + len(plain) :]
        return Words(self._encode, tuple(before), tuple(behind), "llama.cpp")

    def answers(self, windows: Sequence[Window]) -> Iterator[Array]:
        """See `Subject`."""
        for window in windows:
            if self.kind == "seq2seq":
                source, target = halves(window, self.start)
                yield from self._model.stream(target, source)
            else:
                yield from self._model.stream(window)

    def embeddings(self, window: Window) -> Array:
        """See `Subject`."""
        return self._model.embeddings(window)

    def close(self) -> None:
        """End the child process."""
        self._model.close()

    @property
    def _architecture(self) -> str:
        return self._model.metadata.get("general.architecture", "")

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        return self._model.tokenize(texts, add_special=False)


def arithmetic(types: Collection[str]) -> Arithmetic:
    """The coarsest rounding that llama.cpp's kernels do for weights of these types."""
    coarsest = 0
    for name in types:
        kind: Arithmetic = "Q8"
        if name in ("F16", "BF16"):
            kind = "F16" if name == "F16" else "BF16"
        elif BY_NAME[name].plain:
            kind = "F32"
        coarsest = max(coarsest, COARSENESS.index(kind))
    return COARSENESS[coarsest]
