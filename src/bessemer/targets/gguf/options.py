"""Options of the `gguf` target."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

from bessemer.targets import FILE_TYPES
from bessemer.targets.gguf.rules import SEARCHED


class GgufOptions(BaseModel):
    """What a GGUF file holds its weights as."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    precision: str = Field(
        default="keep", description="a type or a mix by llama.cpp's name (Q4_K_M, Q8_0, BF16); keep: as the source has them"
    )
    types: list[str] = Field(
        default_factory=list,
        description="types of single tensors, the first match counts: PATTERN=TYPE (a regular expression and a type), "
        "joined by ':'; `types=attn_v=Q6_K:ffn_down=Q5_K`",
    )
    output: str = Field(default="", description="type of the output matrix")
    embedding: str = Field(default="", description="type of the token embedding")
    importance: Path | None = Field(
        default=None, description="an importance matrix, of `bessemer importance` or llama-imatrix (.gguf or the older .dat)"
    )

    @field_validator("precision")
    @classmethod
    def _known(cls, given: str) -> str:
        name = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}.get(given, given.upper())
        if name in SEARCHED:
            raise ValueError(f"{name} is read and kept, but there is no encoder for it; IQ4_XS and Q2_K are the nearest")
        if name != "KEEP" and name not in FILE_TYPES:
            raise ValueError(f"GGUF has no such type or mix; it has keep, {', '.join(FILE_TYPES)}")
        return "keep" if name == "KEEP" else name

    @field_validator("types")
    @classmethod
    def _pairs(cls, given: list[str]) -> list[str]:
        import re

        for item in given:
            pattern, equals, kind = item.rpartition("=")
            if not equals or not pattern or not kind:
                raise ValueError(f"'{item}' is not PATTERN=TYPE")
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"'{pattern}' is no regular expression: {error}") from None
        return given

    @property
    def overrides(self) -> list[tuple[str, str]]:
        """(pattern, type) in order, those of the output and the embedding first."""
        fixed = [(r"^output\.weight$", self.output), (r"^token_embd\.weight$", self.embedding)]
        pairs = [item.rpartition("=") for item in self.types]
        return [(pattern, kind.upper()) for pattern, kind in fixed if kind] + [(p, kind.upper()) for p, _, kind in pairs]
