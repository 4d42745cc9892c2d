"""Quantized single operators in LiteRT's integer kernels, against the Q/DQ emulation in ONNX Runtime.

Each net ends in a product, so that the operator before it is quantized, and gives the operator's own result away, so
that it is not fused and can be compared where nothing else has rounded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from tests.unit.quantize.nets import conv_net, images

from bessemer.ir.encoding import encoding_of
from bessemer.ir.errors import Declined
from bessemer.ir.model import Model, Origin
from bessemer.passes.base import run_passes
from bessemer.passes.standard import standard_passes
from bessemer.quantize.judge import emulated
from bessemer.quantize.levels import Quantize
from bessemer.quantize.observe import Sample
from bessemer.quantize.stage import Quantized, quantize
from bessemer.runners.graph import GraphRunner
from bessemer.targets.base import Prepared
from bessemer.targets.tflite.options import TFLiteOptions
from bessemer.targets.tflite.target import TARGET
from bessemer.verify.compare import from_artifact, to_artifact

IMAGE = (1, 6, 8, 10)
ROWS = ("MatMul", (10, 4))


@dataclass
class Net:
    """`body` computes o of the inputs; `last`: the product behind it and its weight's shape."""

    body: str
    inputs: dict[str, tuple[int, ...]] = field(default_factory=lambda: {"x": IMAGE})
    weights: dict[str, Any] = field(default_factory=dict)
    last: tuple[str, tuple[int, ...]] = ("Conv", (4, 6, 1, 1))
    kernel: str = ""
    """The LiteRT operator that must compute it."""


TWO = {"x": IMAGE, "z": IMAGE}
AXES = {"axes": np.array([2, 3])}
DOUBLE = {"scale": np.array([1, 1, 2, 2], np.float32)}
PADS = {"pads": np.array([0, 0, 1, 1, 0, 0, 1, 1])}
VECTOR = {"v": (6, 1, 1)}

NETS = {
    "global-mean": Net("o = GlobalAveragePool(x)", kernel="MEAN"),
    "mean": Net("o = ReduceMean<keepdims=1>(x, axes)", weights=AXES, kernel="MEAN"),
    "mean-of-rows": Net("o = ReduceMean<keepdims=1>(x, axes)", weights={"axes": np.array([2])}, kernel="MEAN"),
    "mean-of-channels": Net(
        "o = ReduceMean<keepdims=1>(x, axes)", weights={"axes": np.array([1])}, last=("Conv", (4, 1, 1, 1)), kernel="MEAN"
    ),
    "sum": Net("o = ReduceSum<keepdims=1>(x, axes)", weights=AXES, kernel="SUM"),
    "max-over": Net("o = ReduceMax<keepdims=1>(x, axes)", weights=AXES, kernel="REDUCE_MAX"),
    "min-over": Net("o = ReduceMin<keepdims=1>(x, axes)", weights=AXES, kernel="REDUCE_MIN"),
    "clip": Net("o = Clip(x, low, high)", weights={"low": np.float32(-0.5), "high": np.float32(2)}, kernel="QUANTIZE"),
    "relu6": Net("o = Clip(x, low, high)", weights={"low": np.float32(0), "high": np.float32(6)}, kernel="RELU6"),
    "leaky": Net("o = LeakyRelu<alpha=0.2>(x)", kernel="LEAKY_RELU"),
    "prelu": Net("o = PRelu(x, v)", weights=VECTOR, kernel="PRELU"),
    "hard-swish": Net("o = HardSwish(x)", kernel="HARD_SWISH"),
    "hard-sigmoid": Net("o = HardSigmoid<alpha=0.16666667, beta=0.5>(x)", kernel="ADD"),
    "swish": Net("s = Sigmoid(x)\n o = Mul(x, s)", kernel="LOGISTIC"),
    "gelu": Net("o = Gelu(x)", kernel="GELU"),
    "gelu-tanh": Net('o = Gelu<approximate="tanh">(x)', kernel="GELU"),
    "elu": Net("o = Elu(x)", kernel="ELU"),
    "abs": Net("o = Abs(x)", kernel="ABS"),
    "softmax": Net("o = Softmax<axis=1>(x)", kernel="SOFTMAX"),
    "log-softmax": Net("o = LogSoftmax<axis=1>(x)", kernel="LOG_SOFTMAX"),
    "tanh": Net("o = Tanh(x)", kernel="TANH"),
    "add": Net("o = Add(x, z)", TWO, kernel="ADD"),
    "sub": Net("o = Sub(x, z)", TWO, kernel="SUB"),
    "mul": Net("o = Mul(x, z)", TWO, kernel="MUL"),
    "max": Net("o = Max(x, z)", TWO, kernel="MAXIMUM"),
    "min": Net("o = Min(x, z)", TWO, kernel="MINIMUM"),
    "gate": Net("o = Mul(x, z)", {"x": IMAGE, "z": (1, 6, 1, 1)}, kernel="MUL"),
    "divided": Net("o = Div(x, v)", weights=VECTOR, kernel="MUL"),
    "concat-apart": Net("s = Sigmoid(x)\n o = Concat<axis=1>(x, s)", last=("Conv", (4, 12, 1, 1)), kernel="CONCATENATION"),
    "concat": Net("o = Concat<axis=1>(x, z)", TWO, last=("Conv", (4, 12, 1, 1)), kernel="CONCATENATION"),
    "average": Net("o = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(x)", kernel="AVERAGE_POOL_2D"),
    "average-all": Net(
        "o = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1>(x)", kernel="AVERAGE_POOL_2D"
    ),
    "max-pool": Net("o = MaxPool<kernel_shape=[3,3], pads=[1,1,1,1], strides=[2,2]>(x)", kernel="MAX_POOL_2D"),
    "nearest": Net(
        'o = Resize<mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric">(x, , scale)',
        weights=DOUBLE, kernel="RESIZE_NEAREST_NEIGHBOR",
    ),
    "half-pixel": Net('o = Resize<mode="linear">(x, , scale)', weights=DOUBLE, kernel="RESIZE_BILINEAR"),
    "corners": Net(
        'o = Resize<mode="linear", coordinate_transformation_mode="align_corners">(x, , scale)',
        weights=DOUBLE, kernel="RESIZE_BILINEAR",
    ),
    "pad": Net("o = Pad(x, pads)", weights=PADS, kernel="PAD"),
    "pad-reflect": Net('o = Pad<mode="reflect">(x, pads)', weights=PADS, kernel="MIRROR_PAD"),
    "pad-edge": Net('o = Pad<mode="edge">(x, pads)', weights=PADS, kernel="GATHER"),
    "split": Net(
        "o, p = Split<axis=1, num_outputs=2>(x)\n q = Relu(p)", last=("Conv", (4, 3, 1, 1)), kernel="SPLIT_V"
    ),
    "slice": Net("o = Slice(x, a, b, c)", weights={"a": np.array([1]), "b": np.array([5]), "c": np.array([2])},
                 kernel="STRIDED_SLICE"),
    "gather": Net("o = Gather<axis=2>(x, i)", weights={"i": np.array([3, 1, 1])}, kernel="GATHER"),
    "conv": Net("o = Conv<pads=[1,1,1,1]>(x, w, b)", weights={"w": (6, 6, 3, 3), "b": (6,)}, kernel="CONV_2D"),
    "grouped": Net("o = Conv<group=2>(x, w, b)", weights={"w": (6, 3, 3, 3), "b": (6,)}, kernel="CONV_2D"),
    "depthwise": Net("o = Conv<group=6>(x, w, b)", weights={"w": (6, 1, 3, 3), "b": (6,)}, kernel="DEPTHWISE_CONV_2D"),
    "deconv": Net("o = ConvTranspose<strides=[2,2]>(x, w, b)", weights={"w": (6, 6, 2, 2), "b": (6,)},
                  kernel="TRANSPOSE_CONV"),
    "deconv-cut": Net("o = ConvTranspose<strides=[2,2], pads=[1,1,1,1]>(x, w)", weights={"w": (6, 6, 4, 4)},
                      kernel="TRANSPOSE_CONV"),
    "deconv-dilated": Net("o = ConvTranspose<dilations=[2,2]>(x, w, b)", weights={"w": (6, 6, 3, 3), "b": (6,)},
                          kernel="TRANSPOSE_CONV"),
    "deconv-relu": Net(
        "a = ConvTranspose<strides=[2,2], pads=[1,1,1,1], output_padding=[1,1]>(x, w, b)\n o = Relu(a)",
        weights={"w": (6, 6, 3, 3), "b": (6,)}, kernel="TRANSPOSE_CONV",
    ),
    "deconv-1d": Net("o = ConvTranspose<strides=[2]>(x, w, b)", {"x": (1, 6, 9)}, {"w": (6, 6, 3), "b": (6,)},
                     ("Conv", (4, 6, 1)), "TRANSPOSE_CONV"),
    "matmul": Net("o = MatMul(x, w)", weights={"w": (10, 6)}, last=("MatMul", (6, 4)), kernel="FULLY_CONNECTED"),
    "matmul-bias-relu": Net("a = MatMul(x, w)\n s = Add(b, a)\n o = Relu(s)", weights={"w": (10, 6), "b": (6,)},
                            last=("MatMul", (6, 4)), kernel="FULLY_CONNECTED"),
    "matmul-of-two": Net("o = MatMul(x, z)", {"x": IMAGE, "z": (1, 6, 10, 5)}, last=("MatMul", (5, 4)),
                         kernel="BATCH_MATMUL"),
    "matmul-turned": Net("t = Transpose<perm=[0,1,3,2]>(z)\n o = MatMul(x, t)", {"x": IMAGE, "z": (1, 6, 5, 10)},
                         last=("MatMul", (5, 4)), kernel="BATCH_MATMUL"),
    "matmul-of-batches": Net("o = MatMul(x, w)", weights={"w": (1, 6, 10, 5)}, last=("MatMul", (5, 4)),
                             kernel="BATCH_MATMUL"),
    "matmul-from-left": Net("o = MatMul(w, x)", weights={"w": (1, 6, 10, 8)}, last=ROWS, kernel="BATCH_MATMUL"),
}  # fmt: skip


def build(net: Net, seed: int = 0) -> Model:
    """The canonical float model, random weights."""
    rng = np.random.default_rng(seed)
    last, shape = net.last
    borders = ", ".join(f"float[{','.join(map(str, dims))}] {name}" for name, dims in net.inputs.items())
    outputs = ", ".join(f"float[{','.join(f'{n}{i}' for i in range(len(shape)))}] {n}" for n in ("o", "y"))
    if last == "MatMul":
        outputs = "float[o0,o1,o2,o3] o, float[y0,y1,y2,y3] y"
    text = f"net ({borders}) => ({outputs}) {{ {net.body}\n y = {last}(o, last) }}"
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]>\n{text}')
    for name, given in {**net.weights, "last": shape}.items():
        array = (rng.standard_normal(given) * 0.5).astype(np.float32) if isinstance(given, tuple) else np.asarray(given)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    graph = ir.from_proto(proto)
    run_passes(graph, standard_passes({}))
    return Model(graph, Origin("onnx", Path("net.onnx")))


def samples_of(net: Net, count: int = 8) -> list[Sample]:
    rng = np.random.default_rng(3)
    return [
        {name: (rng.standard_normal(dims) * 1.5).astype(np.float32) for name, dims in net.inputs.items()}
        for _ in range(count)
    ]


def quantized(net: Net, precision: str = "int8") -> tuple[Model, Quantized]:
    return quantize(build(net), Quantize(precision, method="minmax", level=-100), samples_of(net))


def lowered(model: Model, **options: Any) -> Prepared:
    return TARGET.prepare(Model(model.graph.clone(), model.origin), TFLiteOptions(**options))


def answers(prepared: Prepared, folder: Path, samples: list[Sample]) -> list[dict[str, np.ndarray]]:
    """The artifact's outputs, in the original's axis order."""
    runner = TARGET.runner(TARGET.write(prepared, folder, "net").path)
    found = [runner.run(to_artifact(sample, prepared.inputs)) for sample in samples]
    return [
        {name: from_artifact(one[border.name], border) for name, border in prepared.outputs.items()} for one in found
    ]


def steps_off(model: Model, got: list[dict[str, np.ndarray]], samples: list[Sample], name: str = "o") -> float:
    """Largest difference from the emulation, in steps of the value's encoding."""
    runner = GraphRunner(emulated(model.graph), optimize=False)
    encoding = next(encoding_of(value) for value in model.graph.graph.outputs if value.name == name)
    assert encoding is not None, f"'{name}' was not quantized"
    off = [np.abs(one[name] - runner.run(sample)[name]).max() for one, sample in zip(got, samples, strict=True)]
    return float(max(off)) / float(encoding.scale)


@pytest.mark.parametrize("name", NETS)
def test_an_operator_runs_in_integers_within_one_step(name: str, tmp_path: Path) -> None:
    net = NETS[name]
    model, record = quantized(net)
    prepared = lowered(model)
    assert not record.floats
    assert prepared.operators["DEQUANTIZE"] == 2, prepared.operators  # the two outputs
    assert net.kernel in prepared.operators
    samples = samples_of(net)
    got = answers(prepared, tmp_path, samples)
    assert steps_off(model, got, samples) <= 1.001
    spread = max(one["o"].max() - one["o"].min() for one in got)
    assert spread > 0


EIGHT_BITS = ("prelu", "gelu", "gelu-tanh", "elu", "log-softmax", "corners")
"""Without a kernel for 16 bits; RESIZE_BILINEAR has one that rounds the shares of corners to ten bits."""

KERNELS16 = {"hard-swish": "MUL"}
LOOSE = {"tanh": 2, "softmax": 3}
"""Steps of 2^-15 that these kernels' tables are off."""


@pytest.mark.parametrize("name", [name for name in NETS if name not in EIGHT_BITS])
def test_activations_of_sixteen_bits_run_in_integers(name: str, tmp_path: Path) -> None:
    net = NETS[name]
    model, record = quantized(net, "int16x8")
    prepared = lowered(model)
    assert not record.floats
    assert prepared.operators["DEQUANTIZE"] == 2, prepared.operators
    assert KERNELS16.get(name, net.kernel) in prepared.operators
    samples = samples_of(net)
    assert steps_off(model, answers(prepared, tmp_path, samples), samples) <= LOOSE.get(name, 1) + 0.01


@pytest.mark.parametrize("name", EIGHT_BITS[:-1])
def test_no_kernel_of_sixteen_bits_is_said(name: str) -> None:
    _, record = quantized(NETS[name], "int16x8")
    assert any("INT16" in why for _, why in record.floats)


def test_a_resize_beyond_the_precision_of_its_kernel_computes_in_float(tmp_path: Path) -> None:
    model, _ = quantized(NETS["corners"], "int16x8")
    prepared, samples = lowered(model, precision="int16x8"), samples_of(NETS["corners"])
    assert prepared.operators["DEQUANTIZE"] == 3
    assert any("Resize" in note for note in prepared.notes)
    assert steps_off(model, answers(prepared, tmp_path, samples), samples) <= 1.01


@pytest.mark.parametrize("name", ["conv", "grouped", "depthwise", "matmul", "matmul-bias-relu"])
def test_weights_of_four_bits_run_in_integers(name: str, tmp_path: Path) -> None:
    net = NETS[name]
    model, _ = quantized(net, "int8x4")
    prepared, samples = lowered(model), samples_of(net)
    assert prepared.operators["DEQUANTIZE"] == 2
    assert {tensor.type for tensor in prepared.payload.subgraphs[0].tensors if tensor.data} >= {"INT4"}
    assert steps_off(model, answers(prepared, tmp_path, samples), samples) <= 1.01


def test_four_bits_without_a_kernel_compute_in_float_and_say_so(tmp_path: Path) -> None:
    model, _ = quantized(NETS["deconv"], "int8x4")
    prepared, samples = lowered(model, precision="int8x4"), samples_of(NETS["deconv"])
    assert any("ConvTranspose" in note for note in prepared.notes)
    assert steps_off(model, answers(prepared, tmp_path, samples), samples) <= 1.01


def noise(want: list[np.ndarray], got: list[np.ndarray]) -> float:
    """Signal-to-noise ratio in dB."""
    signal, off = np.stack(want), np.stack(want) - np.stack(got)
    return float(10 * np.log10((signal**2).sum() / (off**2).sum()))


def test_sixteen_bits_add_next_to_nothing_to_what_the_weights_lose(tmp_path: Path) -> None:
    """Against a model with the same weights and float activations, int16x8 is far above int8."""
    samples, found = images(8), {}
    for precision in ("int8", "int16x8"):
        model, _ = quantize(conv_net(), Quantize(precision, method="minmax", level=-100), samples)
        artifact = TARGET.runner(TARGET.write(lowered(model), tmp_path, precision).path)
        runner = GraphRunner(model.graph)  # the float view: integer weights, real activations
        want = [runner.run(sample)["y"] for sample in samples]
        found[precision] = noise(want, [artifact.run(sample)["y"] for sample in samples])
    assert found["int16x8"] > 60
    assert found["int16x8"] > found["int8"] + 25


@pytest.mark.parametrize(
    ("body", "inputs", "reason"),
    [
        ("o = Exp(x)", {"x": IMAGE}, "no integer kernel for Exp"),
        ("o = Div(x, z)", TWO, "no integer kernel for Div"),
        ("o = Elu<alpha=0.5>(x)", {"x": IMAGE}, "alpha"),
        ("o = ConvTranspose<group=6>(x, w)", {"x": IMAGE}, "groups"),
        ("o = Conv(x, z)", {"x": IMAGE, "z": (6, 6, 1, 1)}, "computed weight"),
    ],
)
def test_what_has_no_kernel_stays_float_and_says_why(body: str, inputs: dict[str, tuple[int, ...]], reason: str) -> None:
    _, record = quantized(Net(body, inputs, {"w": (6, 1, 2, 2)} if "w" in body else {}))
    assert any(reason in why for _, why in record.floats), record.floats


def convnet() -> tuple[Model, list[Sample]]:
    net = Net("a = Conv<pads=[1,1,1,1]>(x, w, b)\n r = Relu(a)\n o = MaxPool<kernel_shape=[2,2]>(r)",
              weights={"w": (6, 6, 3, 3), "b": (6,)})  # fmt: skip
    return quantized(net)[0], samples_of(net)


@pytest.mark.parametrize("io_type", ["int8", "uint8"])
@pytest.mark.parametrize("io", ["original", "nhwc"])
def test_borders_are_integers_with_the_encodings_of_their_values(io_type: str, io: str, tmp_path: Path) -> None:
    model, samples = convnet()
    real, whole = lowered(model, io=io), lowered(model, io=io, io_type=io_type)
    assert "DEQUANTIZE" not in whole.operators
    assert whole.operators.get("QUANTIZE", 0) == (3 if io_type == "uint8" else 0)
    runner = TARGET.runner(TARGET.write(whole, tmp_path, "borders").path)
    borders = (*runner.signature.inputs, *runner.signature.outputs)
    assert {spec.dtype for spec in borders} == {io_type}
    wanted, got = answers(real, tmp_path, samples), answers(whole, tmp_path, samples)
    encoding = whole.inputs["x"].encoding
    assert encoding is not None
    for one, other in zip(wanted, got, strict=True):
        for name in ("o", "y"):
            scale = whole.outputs[name].encoding.scale  # type: ignore[union-attr]
            assert np.abs(one[name] - other[name]).max() <= scale * 1.001


def test_the_file_states_the_scale_and_the_zero_point_of_its_borders(tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    model, _ = convnet()
    prepared = lowered(model, io_type="uint8")
    file = Interpreter(str(TARGET.write(prepared, tmp_path, "net").path))
    for detail, border in zip(file.get_input_details(), prepared.inputs.values(), strict=True):
        encoding = border.encoding
        assert encoding is not None
        assert detail["quantization"] == (float(encoding.scale), int(encoding.zero_point))
    inside = next(encoding_of(value) for value in model.graph.graph.inputs)
    assert inside is not None and encoding is not None
    assert float(inside.scale) == float(encoding.scale)
    assert int(inside.zero_point) + 128 == int(encoding.zero_point)
    assert any("uint8 in the file" in note for note in prepared.notes)


def test_an_output_that_stays_float_cannot_be_integers() -> None:
    net = Net("o = MatMul(x, w)", weights={"w": (10, 6)})
    model, _ = quantize(build(net), Quantize(method="minmax", level=-100, keep=("Conv",)), samples_of(net))
    with pytest.raises(Declined) as caught:
        lowered(model, io_type="int8")
    assert [(blocker.node, blocker.rule) for blocker in caught.value.blockers] == [("y", "io-type")]
