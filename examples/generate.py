"""Greedy text from a converted language model in ONNX Runtime.

    bessemer convert stories260K-f32.gguf --to onnx --out out
    python examples/generate.py out/stories260K-f32.onnx --tokenizer tokenizer.model --prompt "Once upon a time" --count 200

The model takes input_ids, attention_mask and position_ids, and keys and values of earlier tokens (past_key_values.N.key and
.value); it gives logits and present.N.key and .value, which are fed back. tokenizer: SentencePiece's tokenizer.model, or a
tokenizer.json of the library tokenizers.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from bessemer.runners.decoder.generation import greedy
from bessemer.runners.onnxruntime import OrtRunner

Encode = Callable[[str], list[int]]
Decode = Callable[[list[int]], str]


def tokenizer(path: Path) -> tuple[Encode, Decode]:
    """Both directions; a text starts with the token that the tokenizer puts there."""
    if path.suffix == ".json":
        from tokenizers import Tokenizer

        held = Tokenizer.from_file(str(path))
        return lambda text: list(held.encode(text).ids), lambda tokens: str(held.decode(tokens))
    from sentencepiece import SentencePieceProcessor

    words = SentencePieceProcessor(model_file=str(path))
    return lambda text: [words.bos_id(), *words.encode(text)], lambda tokens: str(words.decode(tokens))


def main() -> None:
    """Read, generate, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--prompt", default="Once upon a time")
    parser.add_argument("--count", type=int, default=200)
    asked = parser.parse_args()
    encode, decode = tokenizer(asked.tokenizer)
    runner = OrtRunner(asked.model, optimize=True)
    start = encode(asked.prompt)
    began = time.perf_counter()
    made = greedy(runner, start, asked.count)
    seconds = time.perf_counter() - began
    print(decode(start + made))
    print(f"{len(made)} tokens in {seconds:.2f} s, {len(made) / seconds:.0f} per second, {runner.runtime}")


if __name__ == "__main__":
    main()
