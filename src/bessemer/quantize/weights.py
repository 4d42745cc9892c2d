"""Schemes that ask little of the data: weights alone in integers, activations quantized as the model runs, float8.

The float weights are read one layer at a time and let go; what is held is their codes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Protocol

import numpy as np

from bessemer.ir.encoding import Encoding, QuantizedWeight, encoding_of, set_encoding, set_weight
from bessemer.ir.errors import UsageError
from bessemer.ir.model import Model, layer_of
from bessemer.ir.types import Array
from bessemer.passes.rewrite import drop, hold_constant, is_constant, make_constant, release
from bessemer.quantize.assign import held, own
from bessemer.quantize.encodings import float8_format, integer_format
from bessemer.quantize.encodings.base import Format, Grain
from bessemer.quantize.observe import Sample
from bessemer.quantize.plan import output_axis
from bessemer.quantize.scheme import WEIGHTS
from bessemer.quantize.stage import clone, spread

if TYPE_CHECKING:
    import onnx_ir

    from bessemer.quantize.algorithms.channel_scales import Site
    from bessemer.quantize.algorithms.gptq import Reach

CALIBRATED = 128
"""Samples, spread over the data, that AWQ, GPTQ and SmoothQuant look at."""
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


def quantize_weights(model: Model, options: Asked, samples: Sequence[Sample] | None) -> tuple[Model, WeightsRecord]:
    """A copy of a canonical float model in one of `scheme.WEIGHTS`.

    Raises UsageError for an algorithm without its data, and where there is nothing to quantize.
    """
    if options.precision not in WEIGHTS:
        raise UsageError(f"'{options.precision}' is no weight scheme", fix=f"Choose one of {', '.join(WEIGHTS)}")
    _check_data(options, samples)
    made = clone(model)
    record = WeightsRecord(options.precision, options.algorithm)
    layers = list(_layers(made.graph.graph, options, record))
    if not layers:
        raise UsageError(
            "There is nothing to quantize: no matrix product (or convolution) has a constant float32 weight",
            why="; ".join(f"{name}: {reason}" for name, reason in record.floats[:3]),
        )
    _choose(made, layers, options, samples or (), record)
    return made, record


def _choose(
    model: Model, layers: list[Layer], options: Asked, samples: Sequence[Sample], record: WeightsRecord
) -> None:
    """Codes for every layer, by the algorithm that was asked for."""
    if options.precision == "int8-dynamic":
        _dynamic(model, layers, options, samples, record)
        return
    if options.precision == "fp8":
        _float8(model, layers, options, samples, record)
        return
    if "awq" in options.algorithm:
        _scale_channels(model, layers, samples, record)
    if "gptq" in options.algorithm:
        _by_error(model, layers, samples, record)
    else:
        nearest(layers, record)


def _dynamic(
    model: Model, layers: list[Layer], options: Asked, samples: Sequence[Sample], record: WeightsRecord
) -> None:
    """Weights rounded, nodes marked: they quantize their activations as they run."""
    from bessemer.ir.canonical import HYBRID_KEY
    from bessemer.quantize.algorithms.smoothquant import smooth

    record.algorithm = "rtn"
    if options.smooth:
        found = _sites(layers)
        count = smooth(model, found, spread(samples, CALIBRATED), options.smooth)
        reached = sum(len(site.readers) for site in found)
        record.notes.append(
            f"SmoothQuant ({options.smooth:g}) scaled {count} inputs, read by {reached} of {len(layers)} layers"
        )
    nearest(layers, record)
    weights = {layer.weight for layer in layers}
    for node in model.graph.graph:
        if len(node.inputs) > 1 and node.inputs[1] in weights:
            node.metadata_props[HYBRID_KEY] = "asymmetric"


def _float8(
    model: Model, layers: list[Layer], options: Asked, samples: Sequence[Sample], record: WeightsRecord
) -> None:
    """Weights with a scale per output channel, the products' inputs with one each, by the largest magnitude seen."""
    from bessemer.quantize.observe import observe

    record.algorithm = "amax"
    weights = {layer.weight for layer in layers}
    readers = [node for node in model.graph.graph if len(node.inputs) > 1 and node.inputs[1] in weights]
    sources = {node.inputs[0]: None for node in readers if node.inputs[0] is not None}
    seen = observe(model.graph, [value.name or "" for value in sources], samples)
    form = float8_format(options.float8)
    for value in sources:
        span = seen.histograms[value.name or ""]
        encoding = form.reaching(np.asarray(max(-span.lowest, span.highest), np.float32))
        if all(use.node in readers and use.idx == 0 for use in value.uses()) and not value.is_graph_output():
            set_encoding(value, encoding)
        else:
            quantize_for(model.graph.graph, value, encoding, readers)
    nearest(layers, record)
    record.notes.append(
        "ONNX Runtime runs float8 without its extended optimisations only (session.disable_quant_qdq=1, or level basic)"
    )


def quantize_for(
    graph: onnx_ir.Graph, value: onnx_ir.Value, encoding: Encoding, readers: Sequence[onnx_ir.Node]
) -> None:
    """A Q/DQ pair for some readers of `value`; the others see it as it is."""
    import onnx_ir

    scale = make_constant(graph, encoding.scale, f"{value.name}_scale")
    zero = make_constant(graph, encoding.zero_point, f"{value.name}_zero_point")
    narrow = onnx_ir.node("QuantizeLinear", [value, scale, zero], name=f"{value.name}_quantize")
    wide = onnx_ir.node("DequantizeLinear", [narrow.outputs[0], scale, zero], name=f"{value.name}_dequantize")
    for node, tail, kind in ((narrow, "quantized", encoding.dtype), (wide, "dequantized", "FLOAT")):
        node.outputs[0].name = f"{value.name}_{tail}"
        node.outputs[0].type, node.outputs[0].shape = onnx_ir.TensorType(onnx_ir.DataType[kind]), value.shape
    for use in list(value.uses()):
        if use.node in readers and use.idx == 0:
            use.node.replace_input_with(0, wide.outputs[0])
    maker = value.producer()
    if maker is None:
        graph.insert_before(next(iter(graph)), [narrow, wide])
    else:
        graph.insert_after(maker, [narrow, wide])


def _scale_channels(model: Model, layers: list[Layer], samples: Sequence[Sample], record: WeightsRecord) -> None:
    from bessemer.quantize.algorithms.awq import Awq, awq
    from bessemer.quantize.algorithms.channel_scales import input_axis

    by_node = {layer.node: layer for layer in layers}

    def rounded(node: onnx_ir.Node, matrix: Array) -> Array:
        layer, turned = by_node[node], input_axis(node)
        weight = encode(matrix.T if turned else matrix, layer.form, layer.grain)
        real = weight.encoding.dequantize(weight.integers)
        return real.T if turned else real

    found = _sites(layers)
    chosen = awq(model, found, spread(samples, CALIBRATED), rounded, Awq())
    moved = sum(1 for exponent in chosen.values() if exponent)
    reached = sum(len(site.readers) for site in found)
    record.notes.append(
        f"AWQ scaled {moved} inputs; {len(layers) - reached} of {len(layers)} layers read what no factor folds into"
    )


def _sites(layers: Sequence[Layer]) -> list[Site]:
    """Where factors per channel fold; a weight that several products read stays as it is."""
    from bessemer.quantize.algorithms.channel_scales import sites

    products = [layer.node for layer in layers if layer.node.op_type != "Conv" and len(layer.weight.uses()) == 1]
    return sites(products)


def _by_error(model: Model, layers: list[Layer], samples: Sequence[Sample], record: WeightsRecord) -> None:
    """GPTQ in graph order: each layer sees the inputs that the rounded ones before it make."""
    from bessemer.quantize.algorithms.channel_scales import input_axis
    from bessemer.quantize.algorithms.gptq import gptq
    from bessemer.quantize.stepwise import Walk

    by_node = {layer.node: layer for layer in layers if layer.node.op_type != "Conv"}
    nearest([layer for layer in layers if layer.node not in by_node], record)
    source: onnx_ir.Value | None = None
    reach: Reach | None = None
    for stop in Walk(model.graph, list(by_node), spread(samples, CALIBRATED)):
        layer = by_node[stop.node]
        if reach is None or stop.node.inputs[0] is not source:
            source, reach = stop.node.inputs[0], _reach(stop.inputs())
        real, turned = held(layer.weight), bool(input_axis(stop.node))
        rows = real if turned else real.T
        weight = gptq(rows, reach, layer.form, layer.grain.block)
        store(layer, real, weight if turned else weight.transposed((1, 0)), record)


def _reach(inputs: Sequence[Array]) -> Reach:
    from bessemer.quantize.algorithms.gptq import Gptq, Hessian, Reach

    found = Hessian(inputs[0].shape[-1])
    for array in inputs:
        found.add(array)
    return Reach.of(found.matrix, Gptq())


def _check_data(options: Asked, samples: Sequence[Sample] | None) -> None:
    asks = ""
    if options.precision in ("int4", "int8-weights") and options.algorithm != "rtn":
        asks = f"algorithm={options.algorithm}"
    if options.precision == "int8-dynamic" and options.smooth:
        asks = f"smooth={options.smooth}"
    if options.precision == "fp8":
        asks = "precision fp8"
    if asks and not samples:
        raise UsageError(f"{asks} needs calibration data", why="it looks at activations", fix="Give --data")


def _layers(graph: onnx_ir.Graph, options: Asked, record: WeightsRecord) -> Iterator[Layer]:
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
    if maker.attributes.get_ints("perm", [1, 0]) != [1, 0] or source.dtype != onnx_ir.DataType.FLOAT:
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
    return integer_format(bits if options.symmetric else f"U{bits}", symmetric=options.symmetric), grain


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
    parts = [(piece, form.fit(piece, grain)) for cut, _ in slabs(real.shape, grain) for piece in [real[cut]]]
    codes = [form.encode(piece, encoding) for piece, encoding in parts]
    first = parts[0][1]
    if grain.axis is None:
        return QuantizedWeight(codes[0], first)
    across, place = (1 - grain.axis, 1 - grain.axis) if grain.block else (grain.axis, 0)
    scale = np.concatenate([encoding.scale for _, encoding in parts], place)
    zero = np.concatenate([encoding.zero_point for _, encoding in parts], place)
    encoding = Encoding(first.dtype, scale, zero, grain.axis, grain.block)
    return QuantizedWeight(np.concatenate(codes, across), encoding)


def slabs(shape: Sequence[int], grain: Grain) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...]]]:
    """Where to cut a weight (a matrix, if in blocks), and its scales, so that no scale is shared between parts."""
    if grain.axis is None:
        yield (), ()
        return
    across, place = (1 - grain.axis, 1 - grain.axis) if grain.block else (grain.axis, 0)
    rows = max(1, SLAB * shape[across] // max(int(np.prod(shape)), 1))
    whole = slice(None)
    for start in range(0, shape[across], rows):
        span = slice(start, start + rows)
        yield (whole,) * across + (span,), (whole,) * place + (span,)


def weight_snr(real: Array, weight: QuantizedWeight) -> float:
    """10 log10 of the weight's energy over that of its error, in dB."""
    signal, noise, held = 0.0, 0.0, weight.encoding
    for cut, of_scale in slabs(real.shape, Grain(held.axis, held.block_size)):
        part = replace(held, scale=held.scale[of_scale], zero_point=held.zero_point[of_scale])
        signal += energy(real[cut])
        noise += energy(part.dequantize(weight.integers[cut]) - real[cut])
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
