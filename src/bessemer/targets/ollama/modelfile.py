"""The Modelfile of a GGUF file: template, parameters, system prompt and license, as `ollama create` reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bessemer.targets.ollama.template import TemplateRefused, renderer, turns_of

if TYPE_CHECKING:
    from bessemer.ir.checkpoint import Checkpoint
    from bessemer.ir.tokenizer import Tokenizer

GENERATION = {
    "temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "min_p": "min_p",
    "repetition_penalty": "repeat_penalty", "max_new_tokens": "num_predict",
}  # fmt: skip
"""Keys of generation_config.json and Ollama's parameters."""
ENDS = ("eos", "eot", "eom")


@dataclass(frozen=True)
class Modelfile:
    """What stands beside the weights.

    parameters: Ollama's names -> values, 'stop' a list of texts; notes: what was left out, and why.
    """

    template: str = ""
    system: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    license: str = ""
    notes: tuple[str, ...] = ()

    def text(self, model: str, adapters: Sequence[str] = ()) -> str:
        """The file. model, adapters: paths relative to it."""
        lines = [f"FROM ./{model}", *(f"ADAPTER ./{name}" for name in adapters)]
        if self.template:
            lines.append(f'TEMPLATE """{self.template}"""')
        if self.system:
            lines.append(f'SYSTEM """{self.system}"""')
        for key, value in self.parameters.items():
            values = value if isinstance(value, list) else [value]
            lines += [f"PARAMETER {key} {_quoted(item)}" for item in values]
        if self.license:
            lines.append(f'LICENSE """{self.license}"""')
        return "\n".join(lines) + "\n"


def _quoted(value: Any) -> str:
    if not isinstance(value, str):
        return str(value)
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def modelfile_of(checkpoint: Checkpoint, *, system: str = "", context: int = 0, license_text: str = "") -> Modelfile:
    """From the checkpoint's tokenizer, generation settings and license; what the caller says wins."""
    notes: list[str] = []
    template = _template(checkpoint.tokenizer, notes)
    texts = {"template": template, "system prompt": system, "license": license_text or license_of(checkpoint)}
    for what, text in texts.items():
        if '"""' in text:
            notes.append(f"The {what} holds three quotation marks, which no Modelfile can: it is left out.")
            texts[what] = ""
    return Modelfile(
        texts["template"], texts["system prompt"], _parameters(checkpoint, context), texts["license"], tuple(notes)
    )


def _template(tokenizer: Tokenizer | None, notes: list[str]) -> str:
    held = "" if tokenizer is None else tokenizer.templates.get("", "")
    if tokenizer is None or not held:
        return ""
    texts = {f"{name}_token": tokenizer.tokens[token] for name, token in tokenizer.special.items() if token >= 0}
    bos = texts.get("bos_token", "") if tokenizer.flags.get("add_bos_token", tokenizer.kind == "llama") else ""
    try:
        return turns_of(renderer(held, texts), bos).go()
    except TemplateRefused as refusal:
        notes.append(f"The chat template has no form for Ollama: {refusal}. Ollama is left with the one inside the GGUF.")
        return ""


def _parameters(checkpoint: Checkpoint, context: int) -> dict[str, Any]:
    held = {ours: checkpoint.generation[key] for key, ours in GENERATION.items() if _number(checkpoint.generation.get(key))}
    if context:
        held["num_ctx"] = context
    stops = _stops(checkpoint)
    return {**held, **({"stop": stops} if stops else {})}


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _stops(checkpoint: Checkpoint) -> list[str]:
    """Texts of the tokens that end an answer: special ones, and generation_config.json's list."""
    tokenizer = checkpoint.tokenizer
    if tokenizer is None or not tokenizer.templates:
        return []
    listed = checkpoint.generation.get("eos_token_id", [])
    ids = [tokenizer.special[name] for name in ENDS if name in tokenizer.special]
    ids += [item for item in (listed if isinstance(listed, list) else [listed]) if isinstance(item, int)]
    return list(dict.fromkeys(tokenizer.tokens[item] for item in ids if 0 <= item < len(tokenizer.tokens)))


def license_of(checkpoint: Checkpoint) -> str:
    """The license file that goes along with the checkpoint, or the name it states."""
    for path in checkpoint.companions:
        if path.name.upper().startswith("LICENSE"):
            return path.read_text(encoding="utf-8", errors="replace").strip()
    return str(checkpoint.general.get("general.license", ""))
