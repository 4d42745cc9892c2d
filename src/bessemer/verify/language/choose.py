"""Which subject stands for a checkpoint: its own runtime where it is installed, else Bessemer's evaluator."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from bessemer.ir.checkpoint import Checkpoint
from bessemer.ir.errors import Declined, MissingExtra, UsageError
from bessemer.ir.tokenizer import Tokenizer, TokenType
from bessemer.runners import llama
from bessemer.sources.huggingface.directory import weights_of
from bessemer.verify.language.huggingface import HuggingFaceSubject
from bessemer.verify.language.llama import LlamaSubject
from bessemer.verify.language.reference import ReferenceSubject
from bessemer.verify.language.subjects import Subject, Words
from bessemer.weights.stream import workers

WHOLE = (TokenType.CONTROL, TokenType.USER_DEFINED)
"""Tokens that a text spells as they are."""
SPACE = "\u2581"
"""SentencePiece's spelling of a space."""

Original = Literal["auto", "runtime", "reference"]

LARGE = 500_000_000
"""Weights of an original that is run by the evaluator, which reads them layer by layer, and not by a runtime that would hold
all of them in float32."""

_AROUND = {
    "bert": (("cls", "add_bos_token"), ("sep", "add_eos_token")),
}
_ELSE = (("bos", "add_bos_token"), ("eos", "add_eos_token"))
"""Kind of tokenizer -> the special tokens before and behind a text: which, and the flag that says so."""

EACH = 20_000_000
"""Weights that keep one thread busy: threads that wait for one another make a small model slower."""


def busy(checkpoint: Checkpoint) -> int:
    """How many threads a model of this size keeps busy."""
    return max(1, min(workers(), checkpoint.parameters // EACH))


def original(path: Path, checkpoint: Checkpoint, wanted: Original = "auto") -> Subject:
    """The original in llama.cpp (GGUF) or transformers (a Hugging Face directory), else in Bessemer's evaluator.

    wanted: 'runtime' or 'reference' insists. Raises MissingExtra, UsageError where neither can run it.
    """
    large = wanted == "auto" and checkpoint.parameters > LARGE and reference(checkpoint) is not None
    aside = wanted == "reference" or large
    running = None if aside else runtime(path, checkpoint)
    if running is not None and _knows(running):
        return running
    if wanted == "runtime":
        raise _no_runtime(path, checkpoint)
    found = reference(checkpoint)
    if found is None:
        raise _no_runtime(path, checkpoint)
    return found


def _knows(running: Subject) -> bool:
    """Whether transformers has the architecture: some live in a repository's own code alone, which nobody runs here."""
    try:
        return bool(running.kind)
    except Declined:
        running.close()
        return False


def runtime(path: Path, checkpoint: Checkpoint, base: Path | None = None) -> Subject | None:
    """The file or directory in its own runtime; None where that is not installed, or there is none for the format.

    base: GGUF of a model that the file is an adapter for."""
    if base is not None:
        return _adapted(path, checkpoint, base)
    if checkpoint.adapter is not None:
        return None
    if checkpoint.origin.format == "gguf" and llama.available():
        return LlamaSubject(path, types(checkpoint), threads=busy(checkpoint))
    whole = checkpoint.origin.format == "huggingface" and weights_of(path) is not None
    if whole and all(find_spec(name) for name in ("torch", "transformers")):
        return HuggingFaceSubject(path, words(checkpoint.tokenizer), busy(checkpoint))
    return None


def _adapted(path: Path, checkpoint: Checkpoint, base: Path) -> Subject | None:
    if not llama.available():
        return None
    return LlamaSubject(base, types(checkpoint), threads=busy(checkpoint), adapters=[(path, 1.0)])


def reference(checkpoint: Checkpoint, what: str = "") -> ReferenceSubject | None:
    """The checkpoint's weights, decoded, in Bessemer's evaluator; None for architectures that it does not compute.

    what: said behind the evaluator's name ('decoded weights')."""
    from bessemer.architectures.base import find

    try:
        family = find(checkpoint.config)
        decoder = family.decoder(checkpoint.config)
        if decoder is None:
            return None
        return ReferenceSubject(decoder, family.roles(checkpoint), words(checkpoint.tokenizer), what)
    except Declined:
        return None


def types(checkpoint: Checkpoint) -> tuple[str, ...]:
    """Of its tensors as they are stored."""
    held = checkpoint.tensors if checkpoint.records is None else checkpoint.records.tensors
    return tuple(sorted({tensor.type for tensor in held.values()}))


def words(tokenizer: Tokenizer | None) -> Words | None:
    """A checkpoint's tokenizer, read the source's own way."""
    from bessemer.tokenization import encoder, readable

    if tokenizer is None or not readable(tokenizer):
        return None
    encode = encoder(tokenizer)
    name = next(iter(tokenizer.files), "Bessemer's tokenizer")
    before, behind = (_special(tokenizer, *how) for how in _AROUND.get(tokenizer.kind, _ELSE))
    return Words(lambda texts: [encode(text) for text in texts], before, behind, name, _normalizer(tokenizer))


def _normalizer(tokenizer: Tokenizer) -> Callable[[str], str] | None:
    """Of a SentencePiece model of the kind 'llama', whose normalizer llama.cpp leaves out (it has the one of kind 't5')."""
    from bessemer.tokenization.encoder import SENTENCEPIECE, sentencepiece

    model = next((tokenizer.files[name] for name in SENTENCEPIECE if name in tokenizer.files), None)
    if tokenizer.kind != "llama" or model is None or "tokenizer.json" in tokenizer.files:
        return None
    processor = sentencepiece(model)
    special = [token for token, kind in zip(tokenizer.tokens, tokenizer.types, strict=True) if kind in WHOLE]
    parts = re.compile(f"({'|'.join(re.escape(token) for token in special)})" if special else "(?!)")

    def tidied(text: str) -> str:
        between = [part if part in special else str(processor.normalize(part)) for part in parts.split(text)]
        return "".join(part.removeprefix(SPACE).replace(SPACE, " ") for part in between)

    return tidied


def _special(tokenizer: Tokenizer, which: str, flag: str) -> tuple[int, ...] | None:
    """None where the source does not say: runtimes have different habits then."""
    held, said = tokenizer.special.get(which), tokenizer.flags.get(flag)
    if said is None:
        return None
    return (held,) if held is not None and said else ()


def _no_runtime(path: Path, checkpoint: Checkpoint) -> UsageError | MissingExtra | llama.LlamaMissing:
    kind = checkpoint.origin.format
    if kind == "gguf" and not llama.available():
        return llama.LlamaMissing()
    if kind == "huggingface" and not find_spec("transformers"):
        return MissingExtra("transformers", extra="hf", needed_for=f"Running {path.name}")
    return UsageError(
        f"Nothing here runs {path.name}, so an artifact cannot be held against it",
        why=f"no runtime reads the format {kind}, and Bessemer's evaluator does not compute the architecture",
        fix="Convert with --no-verify, which says that nothing was proven",
    )

