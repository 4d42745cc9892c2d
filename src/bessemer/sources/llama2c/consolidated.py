"""Llama checkpoints as Meta ships them: params.json and consolidated.00.pth, .01.pth, ... whose tensors are cut in parts.

And the .pt files of llama2.c's training, which hold one model and its arguments.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bessemer.ir.checkpoint import Checkpoint, Lazy
from bessemer.ir.errors import Blocker, Declined, UnreadableInput
from bessemer.ir.model import Origin
from bessemer.sources.llama2c.names import Facts, is_meta, translated
from bessemer.weights.views import column_concat, row_concat

WHOLE = "consolidated.safetensors"
"""What Mistral ships instead of parts."""
PARTS = re.compile(r"consolidated\.(\d{2})\.pth")
ROWS = ("wq", "wk", "wv", "w1", "w3", "output")
"""Matrices that are cut along their outputs; `COLUMNS` are along their inputs, the norms not at all."""
COLUMNS = ("wo", "w2", "tok_embeddings")
"""Llama 3 cuts its embedding along the tokens, which its width tells."""
KNOWN = frozenset((
    "dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "multiple_of", "ffn_dim_multiplier", "hidden_dim", "head_dim",
    "norm_eps",
    "rope_theta", "max_seq_len", "max_batch_size", "dropout",
))  # fmt: skip
"""Arguments that are used here, or say nothing that the tensors do not say."""
LLAMA1_CONTEXT, LLAMA2_CONTEXT, LLAMA3_CONTEXT = 2048, 4096, 8192
PREFIX = "_orig_mod."
"""What torch.compile puts before the names of a module that it wraps."""


def checkpoint(path: Path) -> Checkpoint:
    """A directory with params.json. Raises UnreadableInput, Declined."""
    from bessemer.sources.huggingface.directory import contained, read_json
    from bessemer.sources.huggingface.tensors import of_file

    files = _files(path)
    params = read_json(path, "params.json")
    dim = _count(params, "dim", path)
    tensors = _joined([of_file(contained(file, path)) for file in files], dim, path)
    facts = _facts(params, tensors, path)
    config, moved = translated(facts, tensors)
    notes = [f"params.json says no context length; {facts.context} is what Llama models of its kind were trained for"]
    return Checkpoint(
        moved, config, _tokenizer(path, config), Origin("llama2c", path, {"parts": len(files)}),
        notes=[] if "max_seq_len" in params else notes,
    )  # fmt: skip


def _files(path: Path) -> list[Path]:
    if (path / WHOLE).is_file():
        return [path / WHOLE]
    files = sorted(file for file in path.iterdir() if PARTS.fullmatch(file.name))
    if not files or [int(file.name.split(".")[1]) for file in files] != list(range(len(files))):
        raise UnreadableInput(f"{path} lacks some of consolidated.00.pth, consolidated.01.pth, ...", fix="Complete it")
    return files


def of_pickle(path: Path, values: Any, tensors: Mapping[str, Lazy]) -> Checkpoint | None:
    """A .pt of llama2.c's train.py; None where the file is another one."""
    args = values.get("model_args") if isinstance(values, dict) else None
    named = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}
    if not isinstance(args, dict) or not is_meta(named):
        return None
    named.pop("output.weight", None) if _tied(tensors) else None
    facts = _facts(args, named, path)
    config, moved = translated(facts, named)
    from bessemer.sources.llama2c.vocabulary import beside

    return Checkpoint(
        moved, config, beside(path, facts.vocab), Origin("torch", path, {"trained by": "llama2.c"}),
        notes=["Weights are those under 'model', in Meta's names"],
    )  # fmt: skip


def _tied(tensors: Mapping[str, Lazy]) -> bool:
    """Whether the output matrix is the embedding: train.py shares them, and saves both names."""
    pair = [tensor for name, tensor in tensors.items() if name.endswith(("tok_embeddings.weight", "output.weight"))]
    return len(pair) == 2 and pair[0].shape == pair[1].shape and _same(pair[0], pair[1])


def _same(one: Lazy, other: Lazy, step: int = 4096) -> bool:
    parts = range(0, one.rows, step)
    ends = [(start, min(start + step, one.rows)) for start in parts]
    return one.type == other.type and all((one.read(*end) == other.read(*end)).all() for end in ends)


def _facts(params: Mapping[str, Any], tensors: Mapping[str, Lazy], path: Path) -> Facts:
    """Sizes from the arguments, what they leave open from the tensors. Raises UnreadableInput for what cannot be meant."""
    if not is_meta(tensors):
        raise UnreadableInput(f"{path} does not hold a Llama by Meta's names", where=", ".join(list(tensors)[:3]))
    _refuse_unknown(params, path)
    heads, layers = _count(params, "n_heads", path), _count(params, "n_layers", path)
    vocab, dim = tensors["tok_embeddings.weight"].shape
    theta = float(params.get("rope_theta") or 10000.0)
    head = _count(params, "head_dim", path) if "head_dim" in params else 0
    context = params.get("max_seq_len") or _context(params, theta)
    return Facts(
        dim=dim, hidden=tensors["layers.0.feed_forward.w1.weight"].shape[0], layers=layers, heads=heads,
        kv_heads=int(params.get("n_kv_heads") or heads), vocab=vocab, context=int(context),
        eps=float(params.get("norm_eps") or 1e-5), theta=theta, head=head,
    )  # fmt: skip


def _refuse_unknown(params: Mapping[str, Any], path: Path) -> None:
    """Raises Declined for arguments that change what the model computes (scaled rotations, experts, windows, packing)."""
    unknown = [key for key, value in params.items() if key not in KNOWN and value not in (None, False)]
    if unknown:
        reason, way = "its meaning is not known here", "the directory that transformers loads, of the same model"
        blockers = [Blocker("", str(key)[:80], "setting", reason, rewrite=way) for key in unknown]
        raise Declined(f"Reading {path.name}", blockers)


def _context(params: Mapping[str, Any], theta: float) -> int:
    """Llama 1 has norms with 1e-6, Llama 2 with 1e-5, Llama 3 turns by 500000."""
    if theta == 500000.0:
        return LLAMA3_CONTEXT
    return LLAMA1_CONTEXT if params.get("norm_eps") == 1e-6 else LLAMA2_CONTEXT


def _count(params: Mapping[str, Any], key: str, path: Path) -> int:
    value = params.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= 1 << 16:
        raise UnreadableInput(f"{path} gives no usable '{key}'", why=f"it says {str(value)[:40]}")
    return value


def _joined(parts: Sequence[Mapping[str, Lazy]], dim: int, path: Path) -> dict[str, Lazy]:
    if len(parts) == 1:
        return dict(parts[0])
    odd = sorted({name for part in parts for name in part if any(name not in other for other in parts)})
    if odd:
        raise UnreadableInput(f"the parts of {path} do not hold the same tensors", where=", ".join(odd[:3]))
    return {name: _whole(name, [part[name] for part in parts], dim) for name in parts[0]}


def _whole(name: str, parts: Sequence[Lazy], dim: int) -> Lazy:
    """One tensor of its parts (fairscale's ColumnParallelLinear, RowParallelLinear, ParallelEmbedding)."""
    role = name.removesuffix(".weight").rpartition(".")[2]
    first = parts[0]
    if role in ROWS or (role == "tok_embeddings" and first.columns == dim):
        return row_concat(name, parts, (sum(part.shape[0] for part in parts), *first.shape[1:]))
    if role in COLUMNS:
        return column_concat(name, parts)
    return first


def _tokenizer(path: Path, config: Mapping[str, Any]) -> Any:
    from bessemer.sources.huggingface.checkpoint import tokenizer_of

    return tokenizer_of(path, dict(config))
