"""A language model of a directory in transformers, for tokens: what `verify.language` runs in a child process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bessemer.ir.errors import RuntimeRefused, UnreadableInput, UsageError
from bessemer.ir.signature import Signature, TensorSpec
from bessemer.ir.types import Array
from bessemer.sources.huggingface.building import build
from bessemer.sources.huggingface.config import Settings, settings_of
from bessemer.sources.huggingface.directory import weights_of

SHARE = 0.6
"""Of the free memory, which weights in float32 may take."""


ENCODERS = ("T5EncoderModel", "MT5EncoderModel", "UMT5EncoderModel")
"""Halves of models with an encoder and a decoder, which have the same model_type."""


class LanguageModel:
    """Logits and embeddings, computed in float32 (in the weights' own type where memory does not hold that).

    threads 0: torch's own choice. Raises what `settings_of` and `build` raise.
    """

    def __init__(self, directory: str, threads: int = 0) -> None:
        import torch
        import transformers

        if threads:
            torch.set_num_threads(threads)

        path = Path(directory)
        settings = settings_of(path)
        weights = weights_of(path)
        if weights is None:
            raise UnreadableInput(f"{directory} holds no weights that transformers reads")
        self.kind, name = _kind(settings)
        built = build(path, settings, weights, getattr(transformers, name))
        self.model = built.model
        self.config = self.model.config.get_text_config(decoder=True)  # of models that see, the part that reads
        elements = sum(tensor.numel() for tensor in self.model.parameters())
        if 4 * elements < SHARE * _free():
            self.model = self.model.float()
        self.runtime = f"transformers {transformers.__version__} (torch {torch.__version__})"
        self._held: Array = np.zeros((0, 0), np.float32)

    @property
    def signature(self) -> Signature:
        """Token numbers in, logits of every position out."""
        tokens = TensorSpec("input_ids", "int64", (1, None))
        return Signature((tokens,), (TensorSpec("logits", "float32", (1, None, None)),))

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """input_ids [1, n] -> logits [1, n, vocabulary]."""
        self.read([int(token) for token in inputs["input_ids"].reshape(-1)])
        return {"logits": self._held[None]}

    def tap(self, inputs: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
        """Nothing."""
        return {}

    def facts(self) -> dict[str, Any]:
        """kind, vocabulary, context (0: not said), start, arithmetic."""
        import torch

        names = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
        longest = (getattr(self.config, key, 0) for key in ("max_position_embeddings", "n_positions", "n_ctx"))
        return {
            "kind": self.kind,
            "vocabulary": int(self.config.vocab_size),
            "context": next((held for held in longest if isinstance(held, int) and held > 0), 0),
            "start": _start(self.model),
            "arithmetic": names.get(self.model.dtype, "F32"),
        }

    def read(self, tokens: Sequence[int], source: Sequence[int] = ()) -> int:
        """Compute the logits of tokens and hold them; how many rows. source: what the encoder reads."""
        fed = {"input_ids": _tensor(source or tokens)}
        if self.kind == "seq2seq":
            fed["decoder_input_ids"] = _tensor(tokens)
        self._held = _numpy(self._call(**fed).logits[0])
        return len(self._held)

    def rows(self, first: int, last: int) -> Array:
        """Some rows of the logits that are held."""
        return self._held[first:last]

    def embeddings(self, tokens: Sequence[int]) -> Array:
        """What the last layer gives (of an encoder and decoder: the encoder's), [n, hidden]."""
        fed = {"input_ids": _tensor(tokens)}
        if self.kind == "seq2seq":
            return _numpy(self._called(self.model.get_encoder(), **fed).last_hidden_state[0])
        if self.kind == "encoder":
            return _numpy(self._call(**fed).last_hidden_state[0])
        return _numpy(self._call(**fed, output_hidden_states=True).hidden_states[-1][0])

    def generate(self, tokens: Sequence[int], count: int) -> list[int]:
        """`count` tokens after `tokens`, each the likeliest."""
        held = list(tokens)
        for _ in range(count):
            self.read(held)
            held.append(int(self._held[-1].argmax()))
        return held[len(tokens) :]

    def _call(self, **fed: Any) -> Any:
        kept = {} if self.kind == "encoder" else {"use_cache": False}
        return self._called(self.model, **kept, **fed)

    def _called(self, model: Any, **fed: Any) -> Any:
        import torch

        highest = max(int(ids.max()) for name, ids in fed.items() if name.endswith("input_ids"))
        if highest >= self.config.vocab_size:
            raise UsageError(f"Token {highest} is beyond the vocabulary of {self.config.vocab_size}")
        try:
            with torch.no_grad():
                return model(**fed)
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            why = " ".join(str(error).split())[:300]
            raise RuntimeRefused("transformers refuses these tokens", why=why) from None


def _kind(settings: Settings) -> tuple[str, str]:
    """What sort of model, and the class that is built."""
    from transformers.models.auto import modeling_auto as auto

    model, named = settings.model_type, settings.architecture
    if named in ENCODERS:
        return "encoder", named
    if settings.held.get("is_encoder_decoder") or model in ("t5", "mt5", "umt5", "bart"):
        return "seq2seq", _class(auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES, settings)
    generates = named.endswith(("ForCausalLM", "LMHeadModel"))
    if not generates and model in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        return "encoder", _class(auto.MODEL_MAPPING_NAMES, settings)
    if model in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return "causal", _class(auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, settings)
    return "encoder", _class(auto.MODEL_MAPPING_NAMES, settings)


def _class(names: Mapping[str, Any], settings: Settings) -> str:
    held = names.get(settings.model_type)
    if held is None:
        raise UsageError(f"transformers has no language model of the architecture '{settings.model_type}'")
    return str(held if isinstance(held, str) else held[0])


def _start(model: Any) -> int:
    for config in (model.config, getattr(model, "generation_config", None)):
        held = getattr(config, "decoder_start_token_id", None)
        if isinstance(held, int):
            return held
    return -1


def _free() -> int:
    import os

    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _tensor(tokens: Sequence[int]) -> Any:
    import torch

    return torch.tensor([list(tokens)], dtype=torch.int64)


def _numpy(tensor: Any) -> Array:
    found: Array = tensor.float().detach().contiguous().numpy()
    return found
