"""Small tokenizers of every kind, trained on the package's own hard strings."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Regex, decoders, models, normalizers, processors, trainers
from tokenizers import Tokenizer as Library
from tokenizers import pre_tokenizers as pre

from bessemer.runners import llama
from bessemer.tokenization import corpus

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""As it stands in Llama 3's tokenizer.json."""
TEXTS = [text for text in corpus() if "<|" not in text] * 3
MODEL = {"model_type": "llama", "vocab_size": 1210, "bos_token_id": 0, "eos_token_id": 1}
NAMED = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|begin|>", "eos_token": "<|end|>"}
Encode = Callable[[Path], Callable[[str], list[int]]]


def byte_level(steps: Sequence[Any], special: Sequence[str] = ("<|begin|>", "<|end|>"), **options: Any) -> Library:
    """Byte-level BPE of 1200 tokens."""
    library = Library(models.BPE(ignore_merges=options.get("ignore_merges", False)))
    if "normalizer" in options:
        library.normalizer = options["normalizer"]
    level = pre.ByteLevel(add_prefix_space=options.get("prefix", False), use_regex=options.get("use_regex", False))
    library.pre_tokenizer = pre.Sequence([*steps, level])
    library.decoder, library.post_processor = decoders.ByteLevel(), processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=1200, special_tokens=list(special), initial_alphabet=pre.ByteLevel.alphabet(), show_progress=False,
        max_token_length=20,
    )  # fmt: skip
    library.train_from_iterator(TEXTS, trainer)
    return library


def split(*expressions: str) -> list[Any]:
    """Steps of a pre-tokenizer."""
    return [pre.Split(Regex(expression), "isolated") for expression in expressions]


def saved(folder: Path, library: Library, config: Mapping[str, Any] = NAMED, **model: Any) -> Path:
    """A directory as transformers would save it."""
    folder.mkdir()
    library.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "config.json").write_text(json.dumps({**MODEL, **model}))
    return folder


def llama3(folder: Path) -> Path:
    """Trained anew with Llama 3's way to split words; an end of turn and a plain added token behind the vocabulary."""
    library = byte_level(split(LLAMA3), ignore_merges=True)
    begin = "<|begin|>"
    frame = processors.TemplateProcessing(
        single=f"{begin} $A", pair=f"{begin} $A {begin}:1 $B:1", special_tokens=[(begin, 0)]
    )
    library.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), frame])
    library.add_special_tokens([AddedToken("<|eot_id|>", special=True)])
    library.add_tokens([AddedToken("<tool>", special=False, normalized=False)])
    return saved(folder, library, {**NAMED, "chat_template": "{{ messages }}"})


def bert(folder: Path) -> Path:
    """WordPiece with BERT's five special tokens."""
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    library = Library(models.WordPiece(unk_token="[UNK]"))
    library.normalizer, library.pre_tokenizer = normalizers.BertNormalizer(), pre.BertPreTokenizer()
    library.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=1500, special_tokens=names, show_progress=False)
    library.train_from_iterator(TEXTS, trainer)
    library.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    config = {f"{role}_token": f"[{role.upper()}]" for role in ("unk", "sep", "pad", "cls", "mask")}
    size = library.get_vocab_size() + 3
    return saved(folder, library, config, model_type="bert", vocab_size=size, type_vocab_size=2)


def pieces(folder: Path, name: str, **options: Any) -> Path:
    """A SentencePiece model of 900 pieces and a config.json with 910 rows."""
    from sentencepiece import SentencePieceTrainer

    folder.mkdir()
    text = folder / "text.txt"
    text.write_text("\n".join(t.replace("\n", " ") for t in corpus() if "\0" not in t), encoding="utf-8")
    SentencePieceTrainer.train(
        input=str(text), model_prefix=str(folder / "m"), vocab_size=900, split_digits=True, minloglevel=2,
        hard_vocab_limit=False, character_coverage=0.98 if "byte_fallback" in options else 1.0, **options,
    )  # fmt: skip
    (folder / "m.model").rename(folder / name)
    for path in (text, folder / "m.vocab"):
        path.unlink()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": 910}))
    return folder


PLAIN = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}


@pytest.fixture(scope="session")
def directories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """name -> directory, of tokenizers that llama.cpp can have."""
    root = tmp_path_factory.mktemp("tokenizers")
    qwen = split(LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}"))
    return {
        "llama3": llama3(root / "llama3"),
        "qwen2": saved(root / "qwen2", byte_level(qwen, normalizer=normalizers.NFC())),
        "gpt2": saved(root / "gpt2", byte_level([], use_regex=True)),
        "starcoder": saved(root / "starcoder", byte_level([pre.Digits(individual_digits=True)], use_regex=True)),
        "bert": bert(root / "bert"),
        "llama": pieces(root / "llama", "tokenizer.model", model_type="bpe", byte_fallback=True, **PLAIN),
        "gemma": pieces(
            root / "gemma", "tokenizer.model", model_type="bpe", byte_fallback=True, add_dummy_prefix=False,
            user_defined_symbols=["<start_of_turn>", "\n\n", "  "], **PLAIN,
        ),
        "t5": pieces(
            root / "t5", "spiece.model", model_type="unigram", pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
            normalization_rule_name="nmt_nfkc",
        ),
    }  # fmt: skip


KINDS = ("llama3", "qwen2", "gpt2", "starcoder", "bert", "llama", "gemma", "t5")


@pytest.fixture
def libllama() -> Iterator[Callable[[Path, Sequence[str], bool], list[list[int]]]]:
    """(file, texts, whether special tokens are found) -> ids by llama.cpp itself; skips where it is not installed."""
    if not llama.available():
        pytest.skip("llama.cpp is not installed")

    def tokenize(path: Path, texts: Sequence[str], parse_special: bool = True) -> list[list[int]]:
        with llama.Llama(path, vocabulary_only=True) as model:
            return model.tokenize(texts, add_special=False, parse_special=parse_special)

    yield tokenize


def vocabulary_file(path: Path, keys: Mapping[str, Any]) -> Path:
    """A GGUF file of a tokenizer alone, as llama.cpp reads it."""
    from bessemer.wire.gguf.writer import layout

    sizes = ("context_length", "embedding_length", "block_count", "feed_forward_length", "attention.head_count")
    metadata = {"general.architecture": "llama", **{f"llama.{name}": 16 for name in sizes}}
    metadata["llama.attention.layer_norm_rms_epsilon"] = 1e-5
    header, _, total = layout({**metadata, **keys}, [])
    path.write_bytes(header.ljust(total, b"\0"))
    return path
