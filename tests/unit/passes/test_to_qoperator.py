"""Encodings as operators on integers: ONNX Runtime computes in them what the encodings say."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import onnxruntime as ort
import pytest
from onnx import numpy_helper, parser

from bessemer.ir.model import Model, Origin
from bessemer.ir.types import Array
from bessemer.quantize.judge import emulated
from bessemer.quantize.levels import Quantize
from bessemer.quantize.stage import quantize
from bessemer.runners.graph import GraphRunner
from bessemer.targets.onnx.target import TARGET as ONNX
from bessemer.targets.onnx.target import OnnxOptions
from bessemer.targets.ort.target import TARGET as ORT
from bessemer.targets.ort.target import OrtOptions

RNG = np.random.default_rng(3)


def net(body: str, head: str, out: str, weights: dict[str, tuple[int, ...]]) -> Model:
    proto = parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> g ({head}) => ({out}) {{ {body} }}')
    for name, shape in weights.items():
        array = RNG.standard_normal(shape).astype(np.float32) * np.float32(0.5)
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    from bessemer.opening import normalise
    from bessemer.request import ConvertOptions

    model = Model(onnx_ir.serde.deserialize_model(proto), Origin("onnx", Path("net.onnx")))
    return normalise(model, ConvertOptions()).model


def vision(low: float = -1.0) -> Model:
    """Convolutions with and without bias, in groups, with clips that saturation keeps and that it does not."""
    body = f"""
        a = Conv<pads = [1, 1, 1, 1]>(x, w1, b1)
        b = Relu(a)
        c = Conv<group = 4, pads = [1, 1, 1, 1]>(b, w2)
        lo = Constant<value_float = {low}>()
        hi = Constant<value_float = 1.0>()
        d = Clip(c, lo, hi)
        e = Conv<strides = [2, 2]>(d, w3, b3)
        p = MaxPool<kernel_shape = [2, 2]>(e)
        s = Sigmoid(e)
        q = Mul(e, s)
        r = AveragePool<kernel_shape = [2, 2]>(q)
        t = Concat<axis = 1>(p, r)
        u = GlobalAveragePool(t)
        f = Flatten(u)
        g = Gemm<transB = 1>(f, w4, b4)
        h = Relu(g)
        y = Gemm(h, w5)
    """
    kernels = {"w1": (4, 3, 3, 3), "w2": (4, 1, 3, 3), "w3": (6, 4, 2, 2), "w4": (7, 12), "w5": (7, 5)}
    biases = {"b1": (4,), "b3": (6,), "b4": (7,)}
    return net(body, "float[N, 3, 12, 12] x", "float[N, 5] y", kernels | biases)


def attention() -> Model:
    """Products of two activations and with constant matrices, of rank three."""
    body = """
        q = MatMul(x, wq)
        k = MatMul(x, wk)
        kt = Transpose<perm = [0, 2, 1]>(k)
        s = MatMul(q, kt)
        p = Softmax<axis = -1>(s)
        v = MatMul(p, q)
        o = MatMul(v, wo)
        y = Add(o, bo)
    """
    return net(body, "float[2, 6, 8] x", "float[2, 6, 8] y", {"wq": (8, 8), "wk": (8, 8), "wo": (8, 8), "bo": (8,)})


def quantized(model: Model) -> tuple[Model, list[dict[str, Array]]]:
    spec = model.signature.inputs[0]
    shape = [size if isinstance(size, int) else 1 for size in spec.shape]
    samples = [{"x": RNG.standard_normal(shape).astype(np.float32)} for _ in range(8)]
    return quantize(model, Quantize(method="minmax", level=-100), samples)[0], samples


@pytest.mark.parametrize("opset", [21, 13, 10, None])
@pytest.mark.parametrize("activations", ["uint8", "int8"])
@pytest.mark.parametrize("contrib", [False, True])
@pytest.mark.parametrize("make", [vision, attention])
def test_onnx_runtime_computes_what_the_encodings_say(
    tmp_path: Path, make, activations: str, contrib: bool, opset: int | None
) -> None:
    if opset == 10 and make is attention:  # its last bias is added to a product of rank 3, which stays a Q/DQ pair
        pytest.skip("Q/DQ pairs with a scale for each channel begin with opset 13")
    model, samples = quantized(make())
    want = GraphRunner(emulated(model.graph), optimize=False)
    options = {"precision": "int8", "form": "qoperator", "activations": activations, "opset": opset}
    copy = Model(model.graph.clone(), model.origin)
    target, chosen = (ORT, OrtOptions(**options, level="basic")) if contrib else (ONNX, OnnxOptions(**options))
    file = target.write(target.prepare(copy, chosen), tmp_path, "made").path  # type: ignore[arg-type]
    proto = onnx.load(file)
    onnx.checker.check_model(proto)
    ops = Counter(node.op_type for node in proto.graph.node)
    if not contrib:
        assert {node.domain for node in proto.graph.node} == {""}
    if make is vision:
        assert ops["Conv"] == ops["Gemm"] == ops["MaxPool"] - 1 == 0
        assert ops["QLinearConv"] == (3 if contrib else 4)
        assert ops["QGemm" if contrib else "QLinearMatMul"] == (2 if contrib else 1)
        assert ops["Relu"] == 0
    else:
        assert ops["QLinearMatMul"] == 4
    options_ = ort.SessionOptions()
    options_.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(file), options_, providers=["CPUExecutionProvider"])
    step = float(encoding_step(model))
    gaps = np.stack([np.abs(want.run(sample)["y"] - session.run(None, sample)[0]) for sample in samples]) / step
    assert gaps.max() <= 3.01, "each rounding of an inner layer may move one step"
    assert gaps.mean() < 0.5


def encoding_step(model: Model) -> Array:
    from bessemer.ir.encoding import encoding_of

    (output,) = model.graph.graph.outputs
    encoding = encoding_of(output)
    if encoding is None:  # the product before a bias that is added in float
        encoding = encoding_of(next(v for node in model.graph.graph for v in node.outputs if encoding_of(v)))
    assert encoding is not None
    return encoding.scale


def test_the_optimised_file_has_no_float_convolution_left(tmp_path: Path) -> None:
    """Q/DQ pairs of int8 would leave operators between two types (ONNX Runtime converts pairs one by one)."""
    model, _ = quantized(vision(low=0.0))
    prepared = ORT.prepare(Model(model.graph.clone(), model.origin), OrtOptions(precision="int8"))
    assert prepared.operators["QLinearConv"] == 3
    assert prepared.operators["com.microsoft.QGemm"] == 2
    assert not {"Conv", "Gemm", "Add", "Mul", "Sigmoid"} & prepared.operators.keys()


def test_unsigned_activations_are_the_same_numbers(tmp_path: Path) -> None:
    model, samples = quantized(vision())
    answers = []
    for kind in ("int8", "uint8"):
        copy = Model(model.graph.clone(), model.origin)
        prepared = ONNX.prepare(copy, OnnxOptions(precision="int8", activations=kind))  # type: ignore[arg-type]
        file = ONNX.write(prepared, tmp_path, kind).path
        held = {item.data_type for item in onnx.load(file).graph.initializer if "zero_point" in item.name}
        assert (onnx.TensorProto.UINT8 in held) == (kind == "uint8")
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        answers.append([session.run(None, sample)[0] for sample in samples])
    assert np.array_equal(answers[0], answers[1])
