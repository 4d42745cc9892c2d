"""The torch executor against ONNX Runtime, its gradients against differences, and what it says of what it lacks."""

from __future__ import annotations

import re

import numpy as np
import pytest

from bessemer.ir.errors import RuntimeRefused, UsageError
from bessemer.runners.graph import GraphRunner

torch = pytest.importorskip("torch")

from bessemer.passes.base import run_passes  # noqa: E402
from bessemer.passes.standard import standard_passes  # noqa: E402
from bessemer.runners.torch.executor import Executor  # noqa: E402
from bessemer.runners.torch.runner import TorchRunner  # noqa: E402


def canonical(text: str, **weights: np.ndarray):  # type: ignore[no-untyped-def]
    import onnx
    import onnx_ir

    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]>\n{text}')
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in weights.items())
    graph = onnx_ir.from_proto(proto)
    run_passes(graph, standard_passes({}))
    return graph


NET = """
net (float[2,3,9,9] x) => (float[2,5] y, float[2,4,5,5] m) {
  c = Conv<pads=[1,0,2,1], strides=[2,2]>(x, w, b)
  s = HardSwish(c)
  m = MaxPool<kernel_shape=[3,3], pads=[1,1,1,1]>(s)
  g = GlobalAveragePool(m)
  f = Flatten(g)
  z = Gemm<transB=1>(f, v)
  y = Softmax(z)
}
"""


def net():  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(3)
    made = {"w": (4, 3, 3, 3), "b": (4,), "v": (5, 4)}
    text = NET.replace("float[2,4,5,5]", "float[2,4,5,4]")
    return canonical(text, **{k: rng.standard_normal(shape).astype(np.float32) for k, shape in made.items()})


def test_a_net_answers_as_onnx_runtime_does() -> None:
    graph = net()
    x = np.random.default_rng(0).standard_normal((2, 3, 9, 9)).astype(np.float32)
    right, got = GraphRunner(graph).run({"x": x}), TorchRunner(graph).run({"x": x})
    assert list(right) == list(got)
    for name, array in right.items():
        np.testing.assert_allclose(got[name], array, rtol=1e-5, atol=1e-6)


def test_gradients_of_a_weight_agree_with_differences() -> None:
    graph = net()
    executor = Executor(graph)
    weight = graph.graph.initializers["w"]
    x = torch.randn(2, 3, 9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for value in graph.graph.initializers.values():
        if value.dtype is not None and value.dtype.name == "FLOAT":
            executor.constants[value] = torch.from_numpy(value.const_value.numpy().astype(np.float64))

    def answer(w):  # type: ignore[no-untyped-def]
        executor.constants[weight] = w
        return executor({"x": x})[0]

    start = executor.constants[weight].clone().requires_grad_()
    assert torch.autograd.gradcheck(answer, (start,), eps=1e-6, atol=1e-6)


def test_values_inside_can_be_had() -> None:
    graph = net()
    x = np.zeros((2, 3, 9, 9), np.float32)
    name = graph.graph[0].outputs[0].name
    np.testing.assert_allclose(
        TorchRunner(graph).tap({"x": x}, [name])[name], GraphRunner(graph, [name]).run({"x": x})[name], rtol=1e-5
    )


def test_all_missing_operators_are_named_at_once() -> None:
    text = "net (float[4] x) => (float[4] y) { a = com.some.Odd(x)\n b = Relu(a)\n y = com.some.Even(b) }"
    import onnx
    import onnx_ir

    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 26, "com.some": 1]>\n{text}')
    with pytest.raises(RuntimeRefused, match=re.escape("2 of the model's operators: com.some.Even, com.some.Odd")):
        TorchRunner(onnx_ir.from_proto(proto))


def test_a_missing_input_is_named() -> None:
    with pytest.raises(UsageError, match="x"):
        TorchRunner(net()).run({})
