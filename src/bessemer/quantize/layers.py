"""Products with constant weights, one after another: which ones, in what form, and their codes.

The float weights are read one layer at a time and let go; what is held is their codes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Protocol

import numpy as np

from bessemer.ir.encoding import QuantizedWeight, encoding_of, set_weight
from bessemer.ir.model import layer_of
from bessemer.ir.types import Array
from bessemer.passes.rewrite import drop, hold_constant, is_constant, release
from bessemer.quantize.algorithms.weights_clipping import Searched
from bessemer.quantize.assign import held, own
from bessemer.quantize.encodings import float8_format, integer_format
from bessemer.quantize.encodings.base import Format, Grain
from bessemer.quantize.plan import output_axis

if TYPE_CHECKING:
    import onnx_ir

SLAB = 1 << 22
"""Elements of a weight that are encoded at once."""


class Asked(Protocol):
    """What is read of a target's options."""

    @property
    def precision(self) -> str:
        """One of `scheme.WEIGHTS`."""

    @property
    def block(self) -> int:
        """Weights in a row that share a scale; 0: each output channel has one."""

    @property
    def symmetric(self) -> bool:
        """No zero points."""

    @property
    def algorithm(self) -> str:
        """'rtn' | 'gptq' | 'awq' | 'awq+gptq'."""

    @property
    def clip(self) -> str:
        """'disabled' | 'mmse'."""

    @property
    def smooth(self) -> float:
        """SmoothQuant's strength; 0: none."""

    @property
    def float8(self) -> str:
        """'e4m3fn' | 'e5m2'."""

    @property
    def keep(self) -> tuple[str, ...]:
        """Globs of nodes, layers or operators that stay float."""


@dataclass(frozen=True)
class Layer:
    """A product with a constant weight, and what its codes will be: `grain` of the weight as it stands."""

    node: onnx_ir.Node
    form: Format
    grain: Grain

    @property
    def weight(self) -> onnx_ir.Value:
        """The constant."""
        value = self.node.inputs[1]
        if value is None:
            raise ValueError(f"{self.node.name} has no weight")
        return value

    @property
    def name(self) -> str:
        """What the report calls it."""
        return layer_of(self.node) or self.weight.name or ""


@dataclass
class WeightsRecord:
    """What was done, for the report. layers: name and the weight's signal-to-noise ratio in dB; floats: name and reason."""

    precision: str
    algorithm: str
    layers: list[tuple[str, float]] = field(default_factory=list)
    floats: list[tuple[str, str]] = field(default_factory=list)
    bytes_before: int = 0
    bytes_after: int = 0
    notes: list[str] = field(default_factory=list)


def find_layers(graph: onnx_ir.Graph, options: Asked, record: WeightsRecord) -> Iterator[Layer]:
    """Products in graph order; a weight that several of them read alike comes once."""
    seen: set[onnx_ir.Value] = set()
    for node in list(graph):
        if node.domain not in ("", "ai.onnx") or node.op_type not in ("MatMul", "Gemm", "Conv"):
            continue
        weight = _settled(graph, node)
        if weight in seen:
            continue
        reason = _why_float(node, weight, options)
        if reason:
            record.floats.append((layer_of(node) or node.op_type, reason))
            continue
        if any(not _reads_alike(use.node, use.idx, node) for use in weight.uses()):
            weight = own(graph, weight, node, 1)
        seen.add(weight)
        yield Layer(node, *_form(node, options))


def _settled(graph: onnx_ir.Graph, node: onnx_ir.Node) -> onnx_ir.Value:
    """The weight; a constant that is transposed while the model runs (an embedding that is the last layer too) is
    transposed here: its codes are few beside the floats that stay."""
    import onnx_ir

    weight = node.inputs[1]
    if weight is None:
        raise ValueError(f"{node.name} has no weight")
    maker = weight.producer()
    source = None if maker is None or maker.op_type != "Transpose" else maker.inputs[0]
    tensor = None if source is None or not is_constant(source) else source.const_value
    if maker is None or source is None or tensor is None or source.shape is None or len(source.shape) != 2:
        return weight
    if tuple(maker.attributes.get_ints("perm", (1, 0)) or (1, 0)) != (1, 0) or source.dtype != onnx_ir.DataType.FLOAT:
        return weight
    turned = onnx_ir.LazyTensor(
        lambda: onnx_ir.tensor(tensor.numpy().T),
        dtype=onnx_ir.DataType.FLOAT,
        shape=onnx_ir.Shape(source.shape.numpy()[::-1]),
        cache=False,
    )
    fresh = hold_constant(graph, turned, f"{source.name}_turned")
    for use in list(weight.uses()):
        if use.node.op_type == "MatMul" and use.idx == 1:
            use.node.replace_input_with(1, fresh)
    if not weight.uses() and not weight.is_graph_output():
        drop(maker)
    return fresh


def _reads_alike(user: onnx_ir.Node, place: int, node: onnx_ir.Node) -> bool:
    return place == 1 and user.op_type == node.op_type and output_axis(user) == output_axis(node)


def _why_float(node: onnx_ir.Node, weight: onnx_ir.Value, options: Asked) -> str:
    import onnx_ir

    if not is_constant(weight):
        return "its second operand is computed"
    if weight.dtype != onnx_ir.DataType.FLOAT or encoding_of(weight) is not None:
        return "its weight is not float32"
    names = (node.name or "", node.op_type, *layer_of(node).split(";"))
    pattern = next((glob for glob in options.keep if any(fnmatchcase(name, glob) for name in names if name)), "")
    if pattern:
        return f"kept by '{pattern}'"
    if node.op_type == "Conv":
        return "four bits are for matrix products" if options.precision == "int4" else ""
    if weight.shape is None or len(weight.shape) != 2:
        return "its weight is no matrix"
    return ""


def _form(node: onnx_ir.Node, options: Asked) -> tuple[Format, Grain]:
    """Blocks lie along the axis that is summed; convolutions have a scale per output channel."""
    outputs = output_axis(node)
    if options.precision == "int8-dynamic":
        return integer_format("INT8", symmetric=True), Grain(outputs)
    if options.precision == "fp8":
        return float8_format(options.float8), Grain(outputs)
    per_output = node.op_type == "Conv" or not options.block
    grain = Grain(outputs) if per_output else Grain(1 - outputs, options.block)
    bits = "INT4" if options.precision == "int4" else "INT8"
    form = integer_format(bits if options.symmetric else f"U{bits}", symmetric=options.symmetric)
    return (Searched(form.name, form.dtype, form.symmetric) if options.clip == "mmse" else form), grain


def nearest(layers: Sequence[Layer], record: WeightsRecord) -> None:
    """Round every weight to nearest, one after another."""
    for layer in layers:
        tensor = layer.weight.const_value
        _round(layer, held(layer.weight), record)
        if tensor is not None:
            release(tensor)


def _round(layer: Layer, real: Array, record: WeightsRecord) -> None:
    store(layer, real, encode(real, layer.form, layer.grain), record)


def store(layer: Layer, real: Array, weight: QuantizedWeight, record: WeightsRecord) -> None:
    """Put codes in the weight's place and note what that cost."""
    record.layers.append((layer.name, weight_snr(real, weight)))
    record.bytes_before += real.nbytes
    record.bytes_after += stored_bytes(weight)
    set_weight(layer.weight, weight)


def encode(real: Array, form: Format, grain: Grain) -> QuantizedWeight:
    """Codes of a weight, made slab by slab: temporaries stay small."""
    parts = [(piece, form.fit(piece, grain)) for cut, _ in grain.slabs(real.shape, SLAB) for piece in [real[cut]]]
    codes = [form.encode(piece, encoding) for piece, encoding in parts]
    encoding = grain.joined([encoding for _, encoding in parts])
    return QuantizedWeight(codes[0] if grain.axis is None else np.concatenate(codes, grain.across), encoding)


def weight_snr(real: Array, weight: QuantizedWeight) -> float:
    """10 log10 of the weight's energy over that of its error, in dB."""
    signal, noise, held = 0.0, 0.0, weight.encoding
    for cut, of_scale in Grain(held.axis, held.block_size).slabs(real.shape, SLAB):
        part = replace(held, scale=held.scale[of_scale], zero_point=held.zero_point[of_scale])
        signal += energy(real[cut])
        noise += energy(part.dequantize(weight.integers[cut]) - real[cut])
    return decibels(signal, noise)


def decibels(signal: float, noise: float) -> float:
    """Of two energies."""
    return float(10 * np.log10(max(signal, 1e-30) / max(noise, 1e-30)))


def energy(array: Array) -> float:
    """Sum of squares."""
    flat = np.ascontiguousarray(array, np.float32).reshape(-1)
    return float(np.vdot(flat, flat))


def stored_bytes(weight: QuantizedWeight) -> int:
    """Bytes of codes, scales and zero points as files hold them."""
    from bessemer.ir.numbers import storage

    bits = storage(weight.encoding.dtype).bits
    zeros = weight.encoding.zero_point.size if np.any(weight.encoding.zero_point) else 0
    return (weight.integers.size * bits + zeros * bits) // 8 + weight.encoding.scale.size * 4
