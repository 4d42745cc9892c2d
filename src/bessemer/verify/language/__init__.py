"""Proof that an artifact is the same language model as its original: tokenizers on hard texts, predictions on real text,
weights read back. `prove` takes any two subjects: GGUF in llama.cpp, a Hugging Face directory in transformers, a checkpoint
in Bessemer's own evaluator, a graph in its runtime."""

from __future__ import annotations

from bessemer.verify.language.prove import prove
from bessemer.verify.language.subjects import Subject, Words
from bessemer.verify.language.texts import Text
from bessemer.verify.language.weights import WeightProof, compare

__all__ = ["Subject", "Text", "WeightProof", "Words", "compare", "prove"]
