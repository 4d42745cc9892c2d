"""config.json, read without running or fetching anything: what a known architecture needs, checked before it is built."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bessemer.ir.errors import Blocker, Declined, MissingExtra, UnreadableInput
from bessemer.sources.huggingface.directory import CONFIG, read_json

COUNTED = re.compile(r"(?:^|_)(?:num|n|depths?|layers?|labels?|blocks?|heads?|experts?)(?:_|$)")
"""Names of numbers of things that are built one by one."""
MOST = 100_000
"""Of such things. What their tensors take is compared with the weights while the model is built."""
UNTRUSTED = {
    "auto_map", "_attn_implementation", "attn_implementation", "_attn_implementation_internal",
    "_experts_implementation", "experts_implementation", "fusion_config", "_name_or_path", "name_or_path",
    "transformers_weights", "use_pretrained_backbone", "kernel_config", "distributed_config",
}  # fmt: skip
"""Settings that name code, kernels or other repositories: they are left out."""


@dataclass(frozen=True)
class Settings:
    """A checked config.json. config: the object of transformers that it makes."""

    path: Path
    held: dict[str, Any]
    config: Any

    @property
    def model_type(self) -> str:
        """As transformers registers it."""
        return str(self.held["model_type"])

    @property
    def architecture(self) -> str:
        """Class that the weights were saved from; empty where the file does not say."""
        named = self.held.get("architectures")
        first = named[0] if isinstance(named, list) and named else ""
        return first if isinstance(first, str) else ""


def settings_of(directory: Path) -> Settings:
    """Raises UnreadableInput for a broken file, Declined for an architecture or weights that cannot be built."""
    held = read_json(directory, CONFIG)
    path = directory / CONFIG
    _check_counts(held, path)
    kind = held.get("model_type")
    if not isinstance(kind, str):
        raise UnreadableInput(
            f"{path} names no architecture", why="'model_type' is missing or no text",
            fix="Take the config.json that was saved with the weights",
        )  # fmt: skip
    classes = known_configs()
    if kind not in classes:
        raise Declined("transformers", [_unknown(kind, held)])
    if "quantization_config" in held:
        raise Declined("transformers", [_quantized(kind, held["quantization_config"])])
    return Settings(path, held, _built(classes[kind], held, path))


def known_configs() -> Any:
    """model_type -> class of settings, of the installed transformers. Raises MissingExtra."""
    try:
        from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    except ImportError:
        raise MissingExtra("transformers", extra="hf", needed_for="Reading a Hugging Face directory") from None
    return CONFIG_MAPPING


def _unknown(kind: str, held: dict[str, Any]) -> Blocker:
    from importlib.metadata import version

    have = f"transformers {version('transformers')} has no architecture '{kind[:80]}'"
    if "auto_map" in held:
        return Blocker(
            "", kind[:80], "remote-code",
            f"{have}; the directory brings Python code of its own, which Bessemer does not run",
            rewrite="an ONNX file that its authors exported, or `module.py:factory` with a module that you have read",
        )  # fmt: skip
    return Blocker("", kind[:80], "unknown-architecture", have, rewrite="a newer transformers that knows it")


def _quantized(kind: str, said: Any) -> Blocker:
    method = said.get("quant_method", "?") if isinstance(said, dict) else "?"
    reason = f"its weights are packed by '{str(method)[:40]}', which runs on that library's kernels"
    return Blocker(
        "", kind, "quantized-checkpoint", reason,
        rewrite="the float weights it was made from; `--to ort:int4` quantizes them",
    )  # fmt: skip


def _built(kind: Any, held: dict[str, Any], path: Path) -> Any:
    plain = _without(held)
    try:
        return kind.from_dict(plain)
    except Exception as error:  # noqa: BLE001  # each class of transformers checks its own settings in its own way
        why = f"{type(error).__name__}: {str(error)[:300]}"
        raise UnreadableInput(f"{path} cannot be meant for '{held['model_type']}'", why=why) from None


def _without(held: Any) -> Any:
    """A copy without the untrusted settings, at any depth; infinity as a number, which transformers 5 tags in JSON."""
    if isinstance(held, dict) and set(held) == {"__float__"} and held["__float__"] in ("Infinity", "-Infinity", "NaN"):
        return float(held["__float__"])
    if isinstance(held, dict):
        return {key: _without(value) for key, value in held.items() if key not in UNTRUSTED}
    return [_without(item) for item in held] if isinstance(held, list) else held


def _check_counts(held: dict[str, Any], path: Path) -> None:
    for key, value in _numbers(held):
        if COUNTED.search(key) and value > MOST:
            raise UnreadableInput(f"{path} asks for {value:.3g} of '{key[:80]}'", why=f"more than {MOST} are not built")


def _numbers(held: Any, key: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(held, dict):
        for name, value in held.items():
            yield from _numbers(value, str(name))
    elif isinstance(held, list):
        for value in held:
            yield from _numbers(value, key)
    elif isinstance(held, (int, float)) and not isinstance(held, bool):
        yield key, held
