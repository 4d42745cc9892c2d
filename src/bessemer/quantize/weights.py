"""Schemes that ask little of the data: weights alone in integers, activations quantized as the model runs, float8.

Layers and their codes: `layers.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.encoding import Encoding, set_encoding, weight_of
from bessemer.ir.errors import UsageError
from bessemer.ir.model import Model, layer_of
from bessemer.ir.types import Array
from bessemer.passes.rewrite import make_constant
from bessemer.quantize import recurrent
from bessemer.quantize.assign import held
from bessemer.quantize.encodings import float8_format
from bessemer.quantize.judge import clone, spread
from bessemer.quantize.layers import (
    Asked,
    Layer,
    WeightsRecord,
    decibels,
    encode,
    energy,
    find_layers,
    nearest,
    store,
    stored_bytes,
)
from bessemer.quantize.observe import Sample
from bessemer.quantize.scheme import WEIGHTS
from bessemer.quantize.spell import spell

if TYPE_CHECKING:
    import onnx_ir

    from bessemer.quantize.algorithms.channel_scales import Site
    from bessemer.quantize.algorithms.gptq import Reach

CALIBRATED = 128
"""Samples, spread over the data, that AWQ, GPTQ and SmoothQuant look at."""


def quantize_weights(model: Model, options: Asked, samples: Sequence[Sample] | None) -> tuple[Model, WeightsRecord]:
    """A copy of a canonical float model in one of `scheme.WEIGHTS`.

    Raises UsageError for an algorithm without its data, and where there is nothing to quantize.
    """
    if options.precision not in WEIGHTS:
        raise UsageError(f"'{options.precision}' is no weight scheme", fix=f"Choose one of {', '.join(WEIGHTS)}")
    _check_data(options, samples)
    made = clone(model)
    spell(made.graph)  # samples run through it, and ONNX Runtime has no kernel for some of the hub's operators
    record = WeightsRecord(options.precision, options.algorithm)
    layers = list(find_layers(made.graph.graph, options, record))
    cells = list(_recurrent(made.graph.graph, options, record))
    if not layers and not cells:
        raise UsageError(
            "There is nothing to quantize: no matrix product (or convolution) has a constant float32 weight",
            why="; ".join(f"{name}: {reason}" for name, reason in record.floats[:3]),
        )
    _choose(made, layers, options, samples or (), record)
    for node in cells:
        _quantize_cell(node, record)
    return made, record


def _recurrent(graph: onnx_ir.Graph, options: Asked, record: WeightsRecord) -> Iterator[onnx_ir.Node]:
    """LSTMs whose kernel quantizes activations; every other recurrent layer stays float, and is named."""
    for node in graph:
        if node.domain not in ("", "ai.onnx") or node.op_type not in recurrent.KINDS:
            continue
        reason = f"no kernel for {node.op_type} with {options.precision} weights"
        if node.op_type == "LSTM" and options.precision == "int8-dynamic":
            reason = recurrent.why_float(node, options.keep)
        if reason:
            record.floats.append((layer_of(node) or node.op_type, reason))
        else:
            yield node


def _quantize_cell(node: onnx_ir.Node, record: WeightsRecord) -> None:
    reals = [held(matrix) for matrix in node.inputs[1:3] if matrix is not None]
    for real, (matrix, size) in zip(reals, recurrent.quantize_recurrent(node), strict=True):
        weight = weight_of(matrix)
        if weight is None:
            continue
        noise = weight.encoding.dequantize(weight.integers) - real
        record.layers.append((layer_of(node) or matrix.name or "", decibels(energy(real), energy(noise))))
        record.bytes_before += size
        record.bytes_after += stored_bytes(weight)


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
