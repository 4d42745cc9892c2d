"""Rotary positions and their scalings: config.json's several spellings, GGUF's keys and tensors, frequencies.

Formulas are those of Hugging Face transformers' `modeling_rope_utils` (linear, llama3, yarn, longrope) with their papers:
Chen et al. 2023 (linear), Peng et al. 2023 (YaRN), Ding et al. 2024 (LongRoPE); Llama 3.1's own for llama3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bessemer.architectures.settings import Config, Record, limit, real, setting
from bessemer.ir.decoder import Rope
from bessemer.ir.errors import Blocker

_BESIDE = ("rope_theta", "partial_rotary_factor", "original_max_position_embeddings")
"""Keys of transformers 5's `rope_parameters` that older config.json hold beside `rope_scaling`."""


def factors(scaling: Mapping[str, Any], length: str, pairs: int) -> npt.NDArray[np.float64]:
    """Longrope's divisors for 'short' or 'long' texts. Raises ValueError where there is not one for each pair."""
    found = np.asarray(scaling[f"{length}_factor"], np.float64)
    if found.shape != (pairs,) or not np.all(found > 0):
        raise ValueError(f"{length}_factor is not {pairs} positive numbers")
    return found


def unified(config: dict[str, Any]) -> dict[str, Any]:
    """config.json with `rope_theta`, `partial_rotary_factor` and `rope_scaling` as before transformers 5, which holds them
    in `rope_parameters`; `rope_scaling` is missing where nothing is scaled. Parameters by layer type stay as they are."""
    held = {key: value for key, value in config.items() if key not in ("rope_parameters", "rope_scaling")}
    scaling = config.get("rope_parameters") or config.get("rope_scaling")
    if not isinstance(scaling, Mapping):
        return held
    if "full_attention" in scaling or "sliding_attention" in scaling:
        return {**held, "rope_parameters": dict(scaling)}
    scaling = {**scaling, "rope_type": scaling.get("rope_type", scaling.get("type", "default"))}
    scaling.pop("type", None)
    for key in _BESIDE[:2]:
        if (value := scaling.pop(key, None)) is not None:
            held[key] = value
    if scaling["rope_type"] in (None, "default"):
        return held
    if held.get(_BESIDE[2]) is not None:
        scaling.setdefault(_BESIDE[2], held[_BESIDE[2]])
    return {**held, "rope_scaling": scaling}


def kind(config: Config) -> str:
    """Which scaling: '' for none, 'linear', 'llama3', 'yarn', 'longrope' or what else config.json says."""
    scaling = config.get("rope_scaling")
    if not isinstance(scaling, Mapping):
        return ""
    name = str(scaling.get("rope_type", ""))
    return "longrope" if name == "su" else name


@dataclass(frozen=True)
class Scaling:
    """`rope_scaling` <-> 'rope.scaling.*'. allowed: scalings whose runtime (ggml's graph of this architecture) knows them.

    llama3's factors are the tensor rope_freqs.weight (see `llama3_tensor`), longrope's are `longrope_tensors`.
    """

    allowed: tuple[str, ...] = ("linear", "yarn", "llama3")

    @property
    def keys(self) -> tuple[str, ...]:
        return ("rope_scaling", "original_max_position_embeddings")

    def write(self, config: Config, blockers: list[Blocker]) -> dict[str, Any]:
        name = kind(config)
        if not name:
            return {}
        scaling = config["rope_scaling"]
        if name not in self.allowed:
            wanted = ", ".join(self.allowed) or "none"
            reason = f"scaling '{name}' has no place in this architecture's GGUF ({wanted})"
            blockers.append((limit if name in _NEEDED else setting)("rope_scaling", reason))
            return {}
        blockers += [
            setting(f"rope_scaling.{key}", "it is missing, or not positive")
            for key in _NEEDED[name]
            if not _fit(scaling.get(key))
        ]
        blockers += [
            setting(f"rope_scaling.{key}", f"'{name}' does not carry it") for key in scaling if key not in _KNOWN[name]
        ]
        return {} if blockers else _WRITERS[name](scaling, config)

    def read(self, record: Record, blockers: list[Blocker]) -> dict[str, Any]:
        if "rope_freqs.weight" in record.tensors and "llama3" in self.allowed:
            return _read_llama3(record, blockers)
        name = record.get("rope.scaling.type", "linear")
        if "rope_factors_long.weight" in record.tensors:
            name = "longrope"  # llama.cpp's converter leaves the type out for Phi-3
        factor = record.get("rope.scaling.factor") or record.get("rope.scale_linear")
        if name == "none" or (name == "linear" and not factor):
            return {}
        if name not in self.allowed:
            blockers.append(setting("rope.scaling.type", f"'{name}' has no place in this architecture's config.json"))
            return {}
        return {"rope_scaling": {"rope_type": name, **_READERS[name](record, factor)}}


def _fit(value: Any) -> bool:
    """Whether a parameter of a scaling is a positive number, or numbers."""
    if isinstance(value, list):
        return bool(value) and all(_fit(item) for item in value if not isinstance(item, list))
    return isinstance(value, int | float) and math.isfinite(value) and value > 0


_YARN = {
    "extrapolation_factor": "yarn_ext_factor", "attention_factor": "yarn_attn_factor", "beta_fast": "yarn_beta_fast",
    "beta_slow": "yarn_beta_slow",
}  # fmt: skip
_NEEDED = {
    "linear": ("factor",), "yarn": ("factor", "original_max_position_embeddings"),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    "longrope": ("short_factor", "long_factor"),
}  # fmt: skip
_KNOWN = {
    "linear": ("rope_type", "factor"),
    "yarn": ("rope_type", "factor", "original_max_position_embeddings", "mscale_all_dim", "mscale", "truncate", *_YARN),
    "llama3": ("rope_type", *_NEEDED["llama3"]),
    "longrope": ("rope_type", "short_factor", "long_factor", "original_max_position_embeddings", "factor"),
}  # fmt: skip


def _write_linear(scaling: Mapping[str, Any], config: Config) -> dict[str, Any]:
    return {"rope.scaling.type": "linear", "rope.scaling.factor": float(scaling["factor"])}


def _write_yarn(scaling: Mapping[str, Any], config: Config) -> dict[str, Any]:
    written = {
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": float(scaling["factor"]),
        "rope.scaling.original_context_length": int(scaling["original_max_position_embeddings"]),
    }
    given = {gguf: scaling[key] for key, gguf in _YARN.items() if scaling.get(key) is not None}
    return {**written, **{f"rope.scaling.{gguf}": float(value) for gguf, value in given.items()}}


def _read_yarn(record: Record, factor: Any) -> dict[str, Any]:
    read: dict[str, Any] = {"factor": real(factor or 1.0)}
    if (context := record.get("rope.scaling.original_context_length")) is not None:
        read["original_max_position_embeddings"] = int(context)
    given = {key: record.get(f"rope.scaling.{gguf}") for key, gguf in _YARN.items()}
    return {**read, **{key: real(value) for key, value in given.items() if value is not None}}


def _write_llama3(scaling: Mapping[str, Any], config: Config) -> dict[str, Any]:
    return {}


def longrope_context(config: Config) -> int:
    """Positions that the model was first trained on."""
    scaling = config.get("rope_scaling") or {}
    held = scaling.get("original_max_position_embeddings") or config.get("original_max_position_embeddings")
    return int(held or config["max_position_embeddings"])


def longrope_magnitude(config: Config) -> float:
    """Factor of cosine and sine (Ding et al. 2024, as in Phi-3)."""
    original = longrope_context(config)
    ratio = config["max_position_embeddings"] / original
    return math.sqrt(1 + math.log(ratio) / math.log(original)) if ratio > 1 else 1.0


def _write_longrope(scaling: Mapping[str, Any], config: Config) -> dict[str, Any]:
    return {
        "rope.scaling.type": "longrope",
        "rope.scaling.original_context_length": longrope_context(config),
        "rope.scaling.attn_factor": longrope_magnitude(config),
    }


def _read_longrope(record: Record, factor: Any) -> dict[str, Any]:
    from bessemer.weights.views import array

    read: dict[str, Any] = {}
    for length in ("short", "long"):
        tensor = record.tensors.get(f"rope_factors_{length}.weight")
        if tensor is not None:
            read[f"{length}_factor"] = [real(value) for value in array(tensor)]
    return read


_WRITERS = {"linear": _write_linear, "yarn": _write_yarn, "llama3": _write_llama3, "longrope": _write_longrope}
_READERS = {"linear": lambda record, factor: {"factor": real(factor)}, "yarn": _read_yarn, "longrope": _read_longrope}


def longrope_tensors(config: Config, dims: int) -> dict[str, npt.NDArray[np.float32]]:
    """rope_factors_long and _short (float32 [dims / 2]) of a config with longrope; empty for others."""
    if kind(config) != "longrope":
        return {}
    scaling = config["rope_scaling"]
    return {f"rope_factors_{way}.weight": factors(scaling, way, dims // 2).astype(np.float32) for way in ("long", "short")}


def llama3_tensor(config: Config, dims: int) -> dict[str, npt.NDArray[np.float32]]:
    """rope_freqs.weight (divisors of the frequencies, float32 [dims / 2]) of a config with llama3 scaling; else empty."""
    if kind(config) != "llama3":
        return {}
    return {"rope_freqs.weight": llama3_divisors(config["rope_scaling"], config["rope_theta"], dims)}


def llama3_divisors(scaling: Mapping[str, Any], theta: float, dims: int) -> npt.NDArray[np.float32]:
    """What llama3 scaling divides each frequency by: 1 for short waves, `factor` for long ones, a blend between."""
    factor, low, high = scaling["factor"], scaling["low_freq_factor"], scaling["high_freq_factor"]
    theta, context = _base(theta, dims), scaling["original_max_position_embeddings"]
    frequencies = np.float32(1) / np.float32(theta) ** (np.arange(0, dims, 2, dtype=np.float32) / np.float32(dims))
    made = []
    for frequency in frequencies.astype(np.float32):
        wave = np.float32(np.float32(2 * math.pi) / frequency)
        if wave < context / high:
            made.append(np.float32(1))
        elif wave > context / low:
            made.append(np.float32(factor))
        else:
            smooth = (np.float32(context) / wave - np.float32(low)) / np.float32(high - low)
            made.append(np.float32(1) / ((np.float32(1) - smooth) / np.float32(factor) + smooth))
    return np.asarray(made, np.float32)


def _base(theta: Any, dims: int) -> float:
    """The base of the frequencies. Raises ValueError for what turns nothing."""
    if not 0 < dims <= 1 << 16 or not 1 <= float(theta) < 1e30:
        raise ValueError(f"{dims} elements of a head cannot turn by base {theta}")
    return float(theta)


def _read_llama3(record: Record, blockers: list[Blocker]) -> dict[str, Any]:
    """The parameters that give the tensor: low_freq_factor 1 and high_freq_factor 4, as every published model has them, with
    the context that fits; else those that the blended frequencies ask for."""
    from bessemer.weights.views import array

    wanted = array(record.tensors["rope_freqs.weight"]).reshape(-1)
    theta = _base(real(record.get("rope.freq_base", 10000.0)), 2 * len(wanted))
    for candidate in _candidates(wanted, theta):
        made = llama3_divisors(candidate, theta, 2 * len(wanted))
        if np.allclose(made, wanted, rtol=1e-6, atol=0):
            return {"rope_scaling": {"rope_type": "llama3", **candidate}}
    blockers.append(setting("rope_freqs.weight", "no parameters of llama3 scaling give these frequencies"))
    return {}


def _candidates(wanted: npt.NDArray[np.float32], theta: float) -> Sequence[dict[str, Any]]:
    factor = real(wanted.max())
    contexts = [1 << power for power in (13, 12, 11, 14, 15, 16, 17, 10)]
    usual = [_llama3(high, 4.0, context) for high in (factor, 8.0, 32.0, 16.0, 4.0, 64.0) for context in contexts]
    waves = 2 * math.pi * theta ** (np.arange(len(wanted)) / len(wanted))
    blended = np.isfinite(wanted) & (wanted > 1) & (wanted < wanted.max())
    if blended.sum() < 2 or factor <= 1 or len(set(waves[blended])) < 2:
        return usual
    smooth = (1 / wanted[blended].astype(np.float64) - 1 / factor) / (1 - 1 / factor)
    slope, start = np.polyfit(1 / waves[blended], smooth, 1)
    high = 1 - 1 / start  # with low_freq_factor 1: smooth = (context / wave - 1) / (high - 1)
    return [*usual, _llama3(factor, round(high, 4), round(slope * (high - 1)))]


def _llama3(factor: float, high: float, context: int) -> dict[str, Any]:
    return {
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": float(high),
        "original_max_position_embeddings": int(context),
    }


def rope(config: Config, dims: int, theta: float | None = None, interleaved: bool = False) -> Rope:
    """What `Decoder` says of rotary positions under this config's scaling. theta: in place of `rope_theta`."""
    base = _base(config["rope_theta"] if theta is None else theta, dims)
    name = kind(config)
    plain = base ** (-np.arange(0, dims, 2, dtype=np.float64) / dims)
    if not name:
        return Rope(dims, base, interleaved)
    scaling = config["rope_scaling"]
    if name == "linear":
        return Rope(dims, base, interleaved, _numbers(plain / scaling["factor"]))
    if name == "llama3":
        return Rope(dims, base, interleaved, _numbers(plain / llama3_divisors(scaling, base, dims).astype(np.float64)))
    if name == "longrope":
        short = factors(scaling, "short", len(plain))
        return Rope(dims, base, interleaved, _numbers(plain / short), longrope_magnitude(config))
    if name != "yarn":
        raise ValueError(f"rope_scaling '{name}' is not known")
    return _yarn(scaling, plain, base, interleaved)


def _yarn(scaling: Mapping[str, Any], plain: npt.NDArray[np.float64], base: float, interleaved: bool) -> Rope:
    dims, factor = 2 * len(plain), float(scaling["factor"])
    original = scaling["original_max_position_embeddings"]
    low, high = (
        dims * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(base))
        for turns in (scaling.get("beta_fast") or 32.0, scaling.get("beta_slow") or 1.0)
    )
    if scaling.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dims - 1)
    ramp = np.clip((np.arange(len(plain)) - low) / (max(high - low, 0.001)), 0, 1)
    inverse = plain / factor * ramp + plain * (1 - ramp)
    return Rope(dims, base, interleaved, _numbers(inverse), yarn_magnitude(scaling))


def yarn_magnitude(scaling: Mapping[str, Any]) -> float:
    """Factor of cosine and sine: given, or from the scaling factor (Peng et al. 2023, section 3.4; DeepSeek's mscale)."""

    def grown(weight: float) -> float:
        return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0

    factor = float(scaling["factor"])
    given = scaling.get("attention_factor")
    if given is not None:
        return float(given)
    if scaling.get("mscale") and scaling.get("mscale_all_dim"):
        return grown(scaling["mscale"]) / grown(scaling["mscale_all_dim"])
    return grown(1.0)


def _numbers(values: npt.NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
