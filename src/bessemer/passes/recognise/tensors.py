"""Constants of a graph as lazy tensors in a decoder's roles."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bessemer.architectures.transforms import joined_rows, split_rows
from bessemer.ir.checkpoint import Bytes, Lazy
from bessemer.ir.decoder import Decoder
from bessemer.ir.encoding import weight_of
from bessemer.ir.errors import Blocker, Declined
from bessemer.passes.half import fits_exactly, half_kind
from bessemer.passes.recognise.layers import Skeleton
from bessemer.passes.recognise.stations import Station

if TYPE_CHECKING:
    import onnx_ir

TYPES = {"FLOAT": "F32", "FLOAT16": "F16", "BFLOAT16": "BF16", "DOUBLE": "F64"}
NARROW = {"float16": "F16", "bfloat16": "BF16"}


def roles_of(graph: onnx_ir.Graph, found: Skeleton) -> dict[str, Lazy]:
    """All weights and biases by role, matrices as [results, columns]. Raises Declined for weights that are quantized."""
    blockers, made = list[Blocker](), dict[str, Lazy]()
    half = half_kind(graph)
    for role, station in found.stations.items():
        for part, value in (("weight", station.weight), ("bias", station.bias)):
            if value is None or value.const_value is None:
                continue
            if weight_of(value) is not None or value.const_value.dtype.name not in TYPES:
                reason = f"'{value.name}' is stored in integers; a checkpoint wants the values that they stand for"
                blockers.append(Blocker(role, "graph", "quantized", reason, rewrite="the float model it was made from"))
                continue
            made[f"{role}.{part}"] = _lazy(f"{role}.{part}", value.const_value, _turned(station, part), half)
    if blockers:
        raise Declined("Recognising the weights of a decoder", blockers)
    return made


def fitted(roles: dict[str, Lazy], decoder: Decoder) -> dict[str, Lazy]:
    """The roles as the decoder has them: queries, keys and values together or apart; a tied output is the table; what GGUF
    stores plus a number (Gemma's norms) less it."""
    made = dict(roles)
    if decoder.tied:
        made.pop("output.weight", None)
    wide, narrow = decoder.heads * decoder.head_dim, decoder.kv_heads * decoder.head_dim
    for place in range(len(decoder.layers)):
        for part in ("weight", "bias"):
            names = [f"blk.{place}.attn_{name}.{part}" for name in "qkv"]
            whole = f"blk.{place}.attn_qkv.{part}"
            if decoder.fused_qkv and names[0] in made:
                made[whole] = joined_rows(whole, [made.pop(name) for name in names])
            elif not decoder.fused_qkv and whole in made:
                held = split_rows(made.pop(whole), names, (wide, narrow, narrow))
                made |= {tensor.name: tensor for tensor in held}
    return _less(made, decoder.norm_offset) if decoder.norm_offset else made


def _less(roles: dict[str, Lazy], offset: float) -> dict[str, Lazy]:
    from bessemer.weights.views import mapped

    number = np.float32(offset)
    return {
        role: mapped(tensor, lambda values: values - number) if role.endswith("_norm.weight") else tensor
        for role, tensor in roles.items()
    }


def _turned(station: Station, part: str) -> bool:
    return part == "weight" and station.turned


def _lazy(name: str, tensor: onnx_ir.TensorProtocol, turned: bool, half: str) -> Lazy:
    """half: the type that the source stores weights as, and the graph reads wide."""
    from bessemer.weights.views import transposed

    stored = tensor.dtype.name
    narrow = NARROW.get(half, "") if stored == "FLOAT" and half and fits_exactly(tensor, half.upper()) else ""
    kind = narrow or TYPES[stored]
    shape = tuple(int(dim) for dim in tensor.shape.numpy())
    width = {"F32": 4, "F64": 8}.get(kind, 2) * (shape[-1] if shape else 1)
    plain = Lazy(name, shape, kind, width, lambda start, stop: _rows(tensor, kind, width)[start:stop])
    return replace(transposed(plain), name=name) if turned else plain


def _rows(tensor: onnx_ir.TensorProtocol, kind: str, width: int) -> Bytes:
    from bessemer.weights.views import numpy_type

    held = np.ascontiguousarray(tensor.numpy())
    wanted = numpy_type(kind)
    if held.dtype != wanted:
        held = held.astype(wanted)
    return held.reshape(-1).view(np.uint8).reshape(-1, width)
