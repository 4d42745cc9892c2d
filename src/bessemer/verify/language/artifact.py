"""The proof of one artifact of weights: which subjects run it and its original, and what the outcome is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bessemer.ir.checkpoint import Checkpoint, Lazy
from bessemer.runners.llama import LlamaMissing
from bessemer.verify.evidence import Language, LanguageTokens, Status
from bessemer.verify.language import choose
from bessemer.verify.language.libraries import read_back
from bessemer.verify.language.prove import prove
from bessemer.verify.language.subjects import Subject, Words
from bessemer.verify.language.texts import Text
from bessemer.verify.language.tokenizers import compared_tokens
from bessemer.verify.language.weights import WeightProof, compare
from bessemer.wire.gguf.types import BY_NAME


@dataclass(frozen=True)
class Written:
    """An artifact and what its own reader makes of it. target: who wrote it; path: what a runtime is given; importance:
    whether an importance matrix was used; base: GGUF of the model that the file at `path` is an adapter for, whose
    checkpoint is then the model with the adapter in it."""

    target: str
    path: Path
    files: tuple[Path, ...]
    checkpoint: Checkpoint
    importance: bool = False
    base: Path | None = None


@dataclass(frozen=True)
class Outcome:
    """language: the figures; status: 'executed' where the artifact's own runtime or library answered, else 'emulated';
    advice: how to get the runtime that was missing."""

    language: Language
    status: Status
    runtime: str
    reference: str
    advice: str = ""


def prove_artifact(original: Subject | None, source: Checkpoint, artifact: Written, text: Text | None = None) -> Outcome:
    """Run both where that is possible, and compare weights and tokenizers in any case.

    original: None where nothing runs it (an unknown architecture, a tokenizer alone). Raises what the subjects raise.
    """
    library = read_back(artifact.target, artifact.files)
    held = _weights(source, artifact, library[1] if library is not None else None)
    with ExitStack() as stack:
        runner = choose.runtime(artifact.path, artifact.checkpoint, artifact.base)
        if runner is not None:
            stack.callback(runner.close)
        ran = runner or choose.reference(artifact.checkpoint, "decoded weights")
        if original is None or ran is None or not choose.types(source):
            return _unrun(source, artifact, held, (original, runner), library[0] if library else "")
        lossy = runner is not None and _blocks(artifact.checkpoint)
        decoded = choose.reference(artifact.checkpoint, "decoded weights") if lossy else None
        language = prove(
            original, ran, decoded=decoded, weights=held, types=choose.types(artifact.checkpoint),
            importance=artifact.importance, text=text, parameters=source.parameters,
            corpus=_texts(source, artifact, original.words),
        )  # fmt: skip
        read = library[0] if library is not None else ran.runtime
        runtime = runner.runtime if runner is not None else read
    executed = runner is not None or library is not None
    return Outcome(language, "executed" if executed else "emulated", runtime, original.runtime, _advice(artifact, executed))


def _unrun(
    source: Checkpoint, artifact: Written, held: WeightProof, runners: tuple[Subject | None, Subject | None], library: str
) -> Outcome:
    """Weights and tokenizers alone. runners: of the original and of the artifact, where there are any."""
    ours, theirs = (
        runner.words if runner is not None else choose.words(checkpoint.tokenizer)
        for runner, checkpoint in zip(runners, (source, artifact.checkpoint), strict=True)
    )
    tokens: LanguageTokens | None = compared_tokens(ours, theirs, _texts(source, artifact, ours))
    original, runtime = (runner.runtime if runner is not None else "" for runner in runners)
    stored = bool(choose.types(source))
    missing = ["Nothing here computes this architecture: weights and tokenizers were compared, predictions were not."]
    language = Language(
        original=original, artifact=library or runtime, text="", tokens=tokens, weights=held.lines, problems=held.problems,
        bound="every tensor within its type's floor" if stored else "the same tokens", notes=missing if stored else [],
        within=held.within and (tokens is None or not tokens.differing) and bool(held.lines or tokens),
    )  # fmt: skip
    executed = bool(library) or (bool(runtime) and not stored)
    status: Status = "executed" if executed else "emulated"
    return Outcome(language, status, library or runtime, original, _advice(artifact, executed or bool(runtime)))


def _texts(source: Checkpoint, artifact: Written, words: Words | None) -> Sequence[str]:
    """Hard texts for the tokenizers; for llama.cpp without those where it is known to depart (`Tokenizer.notes`), unless
    the normalizer that explains them can be asked."""
    from bessemer.tokenization import corpus, proof_texts

    sides = (source, artifact.checkpoint), (artifact.checkpoint, source)
    plain = next((one.tokenizer for one, other in sides if other.origin.format == "gguf"), None)
    if plain is None or (words is not None and words.normalize):
        return corpus()
    return proof_texts(plain)


def _advice(artifact: Written, executed: bool) -> str:
    """How the runtime that was missing is got; '' where it was there, or the format has none."""
    return "" if executed or artifact.checkpoint.origin.format != "gguf" else str(LlamaMissing())


def _blocks(checkpoint: Checkpoint) -> bool:
    """Whether weights are in blocks, whose loss is told from errors by running their decoded values."""
    return any(kind in BY_NAME and not BY_NAME[kind].plain for kind in choose.types(checkpoint))


def _weights(source: Checkpoint, artifact: Written, read: Mapping[str, Lazy] | None) -> WeightProof:
    """By the library's reading where there is one, else by ours; of an architecture without a table in GGUF's own form."""
    if read is not None:
        return compare(source.tensors, read, importance=artifact.importance)
    if source.records is not None and artifact.checkpoint.records is not None:
        return compare(source.records.tensors, artifact.checkpoint.records.tensors, importance=artifact.importance)
    if artifact.checkpoint.origin.format != "gguf" or source.adapter is not None or not source.config:
        return compare(source.tensors, artifact.checkpoint.tensors, importance=artifact.importance)
    return _through_gguf(source, artifact)


def _through_gguf(source: Checkpoint, artifact: Written) -> WeightProof:
    """The weights that have a place in GGUF, by the names that come back; heads of embedding models have none there."""
    from bessemer.architectures.base import find

    family, back = find(source.config), artifact.checkpoint
    types = {} if back.records is None else family.stored(source.config, back.records.tensors)
    return compare(family.carried(source), back.tensors, importance=artifact.importance, types=types)
