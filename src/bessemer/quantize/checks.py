"""What calibration data says about itself beside the model that it is meant for, before anything is quantized.

A network was trained on inputs of one scale, and its parameters remember which. The spread of its first layer's sums
(without the bias) is compared with what training left behind: the deviation that a batch normalisation, folded by
now, had after it, or else the size of the layer's biases. Over nine real models with the right preprocessing the
second ratio lies between 0.19 and 4.6; pixels from 0 to 255 fed to those that want about 1 put it between 24 and 250,
the reverse between 0.0007 and 0.018 (`tests/unit/quantize/test_checks.py` holds the bounds against all of them).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bessemer.ir.canonical import RANGE_KEY, TRAINED_KEY
from bessemer.ir.errors import UsageError
from bessemer.ir.model import Model, layer_of
from bessemer.ir.signature import TensorSpec
from bessemer.ir.types import Array
from bessemer.passes.rewrite import constant
from bessemer.quantize.judge import clone, spread
from bessemer.quantize.levels import FEW
from bessemer.quantize.observe import Sample
from bessemer.quantize.plan import bias_operands
from bessemer.quantize.scheme import PRODUCTS
from bessemer.runners.graph import GraphRunner
from bessemer.verify.inputs import image_axes, rows_indexed_by

if TYPE_CHECKING:
    import onnx_ir

LOOKED_AT = 8
"""Samples, spread over the data, that are run."""

BESIDE_NORM = 10.0
"""Factor between the spread that a batch normalisation was trained on and the one seen that is no chance."""

BESIDE_BIAS = (0.03, 15.0)
"""Spread of the first layer's sums as a multiple of its biases, outside of which images are of another scale."""

UNIT = 5.0
"""Images normalised in any usual way lie within this many units of zero; 8-bit pixels reach far beyond."""

STILL = 0.01
"""Deviation of outputs over the samples, as a share of their largest value, below which they do not change."""


def check_data(model: Model, samples: Sequence[Sample]) -> list[str]:
    """Sentences for the report on data that is probably not what the model was trained on.

    Raises UsageError for what certainly is not: NaN, indices beyond a table.
    """
    said = _count(samples)
    floats = [spec for spec in model.signature.inputs if np.dtype(spec.dtype).kind == "f"] if samples else []
    shown = spread(samples, LOOKED_AT)
    for value in model.graph.graph.inputs:
        _check_indices(value, samples)
    for spec in floats:
        said += _plain(spec, shown)
    if floats and not said[len(_count(samples)) :]:
        said += _beside_the_model(model, floats, shown)
    return said


def _count(samples: Sequence[Sample]) -> list[str]:
    if len(samples) >= FEW:
        return []
    return [f"{len(samples)} calibration sample(s) are few: ranges may not hold for other data; give {FEW} or more"]


def _plain(spec: TensorSpec, samples: Sequence[Sample]) -> list[str]:
    """What the values alone say."""
    values = np.concatenate([np.asarray(sample[spec.name]).reshape(-1) for sample in samples])
    if not np.isfinite(values).all():
        raise UsageError(
            f"The calibration data for '{spec.name}' holds NaN or infinite numbers",
            why="a range cannot be chosen from them",
            fix="Check the data and its preprocessing",
        )
    if values.size and values.min() == values.max():
        return [f"every calibration value of '{spec.name}' is {values[0]:g}"]
    return []


def _check_indices(value: onnx_ir.Value, samples: Sequence[Sample]) -> None:
    rows = min(rows_indexed_by(value), default=None)
    if rows is None or value.dtype is None or not value.dtype.is_integer():
        return
    for place, sample in enumerate(samples):
        highest = int(np.max(sample[value.name or ""], initial=0))
        if highest >= rows:
            raise UsageError(
                f"Calibration sample {place} feeds {highest} to '{value.name}'",
                why=f"the model looks it up in a table of {rows} rows",
                fix="Use the tokenizer that the model was trained with",
            )


def _beside_the_model(model: Model, specs: Sequence[TensorSpec], samples: Sequence[Sample]) -> list[str]:
    from bessemer.quantize.spell import spell

    copy = clone(model)
    spell(copy.graph)
    graph = copy.graph.graph
    firsts = {spec.name: first for spec in specs if (first := first_product(graph, spec.name)) is not None}
    taps = [first.tap.name or "" for first in firsts.values()]
    outputs = [value.name or "" for value in graph.outputs]
    runner = GraphRunner(copy.graph, [*dict.fromkeys([*taps, *outputs])])
    answers = [runner.run(sample) for sample in samples]
    said = [line for spec in specs if (line := _scale(spec, firsts.get(spec.name), samples, answers, graph))]
    return said or still([name for name in outputs if name in answers[0]], answers)


@dataclass(frozen=True)
class First:
    """The first layer with weights behind an input: where its sums can be read, on which axis channels lie, its
    biases (None: it has none), and the deviations behind a batch normalisation that was folded into it."""

    node: onnx_ir.Node
    tap: onnx_ir.Value
    axis: int
    bias: Array | None
    trained: Array | None


def first_product(graph: onnx_ir.Graph, name: str) -> First | None:
    """Of the input called `name`; None where no layer with constant weights follows."""
    start = next((value for value in graph.inputs if value.name == name), None)
    found = next(_products_behind(start), None) if start is not None else None
    if found is None:
        return None
    tap = found.outputs[0]
    bias = constant(found.inputs[2]) if len(found.inputs) > 2 else None
    readers = list(tap.consumers())
    if bias is None and len(readers) == 1 and bias_operands(readers[0]):
        bias = constant(bias_operands(readers[0])[0])
    axis = 1 if found.op_type in ("Conv", "ConvTranspose") else -1
    return First(found, tap, axis, bias, tap.meta.get(TRAINED_KEY))


def _products_behind(start: onnx_ir.Value) -> Iterator[onnx_ir.Node]:
    front, seen = [start], {start}
    while front:
        value = front.pop(0)
        for node in value.consumers():
            if node.op_type in PRODUCTS and node.inputs[0] is value and constant(node.inputs[1], 1 << 26) is not None:
                yield node
            elif node.op_type not in PRODUCTS:
                fresh = [output for output in node.outputs if output not in seen]
                seen.update(fresh)
                front += fresh


def _scale(
    spec: TensorSpec,
    first: First | None,
    samples: Sequence[Sample],
    answers: Sequence[Mapping[str, Array]],
    graph: onnx_ir.Graph,
) -> str:
    """One sentence where the data has another scale than the model was trained on, or ''."""
    arrays = [np.asarray(sample[spec.name]) for sample in samples]
    low, high = min(float(array.min()) for array in arrays), max(float(array.max()) for array in arrays)
    stated = next((value.meta.get(RANGE_KEY) for value in graph.inputs if value.name == spec.name), None)
    shown = f"the calibration data for '{spec.name}' ({low:.4g} to {high:.4g})"
    if stated is not None:
        return _beside_statement(shown, (low, high), stated)
    spreads = None if first is None else _spreads(first, answers)
    if first is not None and spreads is not None and first.trained is not None:
        ratio = float(np.median(spreads / np.maximum(first.trained, 1e-12)))
        told = f"is {ratio:.3g} times what its batch normalisation was trained on"
        return "" if 1 / BESIDE_NORM < ratio < BESIDE_NORM else _mistaken(shown, ratio, first, told)
    if image_axes(spec, arrays[0].shape) is None:
        return ""
    if first is None or spreads is None or first.bias is None or not np.any(first.bias):
        return _raw_pixels(shown, arrays)
    ratio = float(np.median(spreads / np.maximum(np.abs(first.bias), 1e-12)))
    large, small = high > UNIT and ratio > BESIDE_BIAS[1], high <= UNIT and ratio < BESIDE_BIAS[0]
    told = f"is {ratio:.3g} times its biases, where trained models have about one"
    return _mistaken(shown, ratio, first, told) if large or small else ""


def _spreads(first: First, answers: Sequence[Mapping[str, Array]]) -> Array | None:
    """Deviation of the first layer's sums, per channel."""
    name = first.tap.name or ""
    if any(name not in answer for answer in answers):
        return None
    moved = [np.moveaxis(answer[name].astype(np.float64), first.axis, 0) for answer in answers]
    deviations: Array = np.concatenate([part.reshape(part.shape[0], -1) for part in moved], axis=1).std(axis=1)
    sizes = [part.size for part in (first.bias, first.trained) if part is not None]
    return deviations if all(size == deviations.size for size in sizes) else None


def _mistaken(shown: str, ratio: float, first: First, why: str) -> str:
    word = "large" if ratio > 1 else "small"
    mend = "scale it as in training (--preprocess: torch, tf, caffe, or scale=, mean=, std=)"
    if ratio < 1:
        mend = "feed the pixels as they are where the model wants 0 to 255 (--preprocess raw)"
    layer = min((layer_of(first.node) or first.node.op_type).split(";"), key=len)
    return f"{shown} looks far too {word}: the spread of the first layer '{layer}' {why}. To mend it, {mend}"


def _beside_statement(shown: str, seen: tuple[float, float], stated: tuple[float, float]) -> str:
    """The model's metadata says what range it wants."""
    width, wanted = seen[1] - seen[0], stated[1] - stated[0]
    outside = seen[0] < stated[0] - wanted or seen[1] > stated[1] + wanted
    if not outside and width > wanted / 16:
        return ""
    asks = f"{stated[0]:g} to {stated[1]:g}"
    return f"{shown} does not fit what the model's metadata asks for: {asks}. Scale it (--preprocess)"


def _raw_pixels(shown: str, arrays: Sequence[Array]) -> str:
    """Where the model remembers nothing, the values have to tell."""
    values = np.concatenate([array.reshape(-1) for array in arrays])
    whole = bool((values == np.rint(values)).all())
    if not (whole and float(values.min()) >= 0 and UNIT < float(values.max()) <= 255):
        return ""
    return f"{shown} looks like raw pixels: a model trained on scaled ones needs the same scaling here (--preprocess)"


def still(names: Sequence[str], answers: Sequence[Mapping[str, Array]]) -> list[str]:
    """A sentence for float outputs that are the same whatever is fed."""
    said = []
    for name in names:
        arrays = [answer[name] for answer in answers]
        if len(arrays) < 4 or arrays[0].dtype.kind != "f" or any(array.shape != arrays[0].shape for array in arrays):
            return []
        stacked = np.stack(arrays).astype(np.float64)
        reach = float(np.abs(stacked).max(initial=0.0))
        moved = float(stacked.std(axis=0).max(initial=0.0))
        if not stacked.size or moved > STILL * reach:
            return []
        said.append(f"'{name}' (at most {moved:.2g} where its values reach {reach:.3g})")
    what = "the float model's outputs hardly change from one calibration sample to another"
    return [f"{what}: {', '.join(said)}. Check the data's scale and axis order (--preprocess)"] if said else []
