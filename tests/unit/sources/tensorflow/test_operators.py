"""TensorFlow's operators: the numpy evaluator and the drawn graph against TensorFlow itself, cases at random."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.sources.tensorflow.operator_cases import MAKERS, cases
from tests.unit.sources.tensorflow.trial import Case, Tally, differences, drawn, evaluated, judge

from bessemer.sources.drawing import Canvas, Unsupported
from bessemer.sources.tensorflow.node import Node
from bessemer.sources.tensorflow.ops.refused import refuse
from bessemer.sources.tensorflow.registry import readers


@pytest.fixture(scope="module")
def tally() -> Tally:
    """Every operator three times, each evaluated, drawn, drawn in random axis orders, and with unbound dims."""
    pytest.importorskip("tensorflow")
    held, made = Tally(), cases(3 * len(MAKERS), seed=20)
    for start in range(0, len(made), 60):
        judge(made[start : start + 60], start, held)
    return held


def test_nothing_is_wrong(tally: Tally) -> None:
    assert not tally.wrong, "\n".join(tally.wrong[:10])
    assert tally.cases > 600 and tally.comparisons > 3.5 * tally.cases
    assert tally.operators >= set(MAKERS)


def test_with_every_dim_bound_only_soft_suppression_is_declined(tally: Tally) -> None:
    bound = [line for line in tally.declined if line.split(" ")[1] != "unbound"]
    assert all(line.startswith("NonMaxSuppressionV5") for line in bound), bound[:5]


def test_every_reading_operator_has_cases() -> None:
    """What is read and neither passed on nor refused is tried against TensorFlow."""
    read = {name for name, reader in readers().items() if reader is not refuse}
    missing = read - set(MAKERS)
    assert missing <= UNTRIED, sorted(missing - UNTRIED)


UNTRIED = {
    # names of TensorFlow 0.x and 1.x for what is tried under its present name
    "AccumulateNV2", "BatchNormWithGlobalNormalization", "BatchToSpace", "BiasAddV1", "Conv", "Conv3DBackpropInput",
    "ConjugateTranspose", "MatrixDiagPartV2", "MatrixDiagPartV3", "MatrixDiagV2", "MatrixSetDiagV2", "MatrixSetDiagV3",
    "ParallelDynamicStitch", "ReluN1To1", "Reverse", "SpaceToBatch", "TopK", "UniqueV2", "UniqueWithCountsV2",
    # operators that pass their operand on, or that only a whole graph has
    "CheckNumerics", "CheckNumericsV2", "Const", "Copy", "DebugGradientIdentity", "DebugIdentity", "EnsureShape",
    "IdentityN", "OptimizationBarrier", "PlaceholderWithDefault", "PreventGradient", "ReadVariableOp", "ResourceGather",
    "ResourceGatherNd", "ShapeN",
    # TensorFlow has them on GPUs only: tried against PyTorch's layers below
    "CudnnRNN", "CudnnRNNV2", "CudnnRNNV3",
    # what TensorFlow's optimiser makes: it has no public form; tried below
    "_FusedConv2D", "_FusedDepthwiseConv2dNative", "_FusedMatMul",
    # the same reader as the form with fewer axes
    "FFT3D", "IFFT3D", "RFFT3D", "SegmentProd",
}  # fmt: skip


def test_what_is_refused_says_why_and_what_to_do() -> None:
    refused = [name for name, reader in readers().items() if reader is refuse]
    assert len(refused) > 150
    for name in refused:
        with pytest.raises(Unsupported) as problem:
            refuse(Canvas([]), Node(name, name, (), {}), [])
        assert problem.value.reason and problem.value.rewrite, name


def test_a_wrong_reading_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trial itself can fail: a reader that swaps its operands is caught."""
    import numpy as np

    pytest.importorskip("tensorflow")
    right = readers()["Sub"]
    monkeypatch.setitem(
        readers(), "Sub", lambda canvas, node, inputs: right(canvas, node, list(inputs)[::-1])
    )
    case = Case("Sub", {"x": np.float32([1, 2]), "y": np.float32([5, 7])})
    tally = judge([case], 0, Tally())
    assert len(tally.wrong) == 3


def test_wav_files_are_decoded_as_tensorflow_does() -> None:
    """Mono and stereo, cut, filled up, channels dropped and repeated; what follows the samples in the file is left."""
    import struct

    import numpy as np

    from bessemer.runners.tensorflow.registry import evaluators
    from bessemer.verify.sounds import wav

    tensorflow = pytest.importorskip("tensorflow")
    rng = np.random.default_rng(1)
    mono = wav(50, "normal", rng)
    pcm = rng.integers(-32768, 32768, (40, 2)).astype("<i2").tobytes()
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 2, 8000, 32000, 4, 16)
    chunks = form + struct.pack("<4sI", b"data", len(pcm)) + pcm + struct.pack("<4sI", b"more", 2) + b"xy"
    stereo = struct.pack("<4sI4s", b"RIFF", 4 + len(chunks), b"WAVE") + chunks
    for data in (mono, stereo):
        for attrs in ({}, {"desired_samples": 30}, {"desired_samples": 60, "desired_channels": 1}, {"desired_channels": 3}):
            expected = tensorflow.audio.decode_wav(data, **attrs)
            operand = np.empty((), object)
            operand[()] = data
            sound, rate = evaluators()["DecodeWav"](Node("w", "DecodeWav", ("x",), attrs), [operand])
            np.testing.assert_array_equal(sound, expected.audio.numpy(), str(attrs))
            assert int(rate) == int(expected.sample_rate)
    broken = np.empty((), object)
    broken[()] = b"RIFF nothing"
    with pytest.raises(ValueError, match="no WAV"):
        evaluators()["DecodeWav"](Node("w", "DecodeWav", ("x",), {}), [broken])


@pytest.mark.parametrize("mode", ["lstm", "gru", "rnn_tanh", "rnn_relu"])
@pytest.mark.parametrize("both", [False, True])
def test_cudnn_layers_are_those_of_torch(mode: str, both: bool) -> None:
    """PyTorch's recurrent layers are cuDNN's, gates in the same order; weights are laid out as cuDNN wants them."""
    torch = pytest.importorskip("torch")
    import numpy as np

    torch.manual_seed(3)
    kind = {"lstm": "LSTM", "gru": "GRU"}.get(mode, "RNN")
    more = {} if kind != "RNN" else {"nonlinearity": mode[4:]}
    layer = getattr(torch.nn, kind)(5, 3, num_layers=2, bidirectional=both, **more)
    ways = 2 if both else 1
    x, hidden, cell = torch.randn(4, 2, 5), torch.randn(2 * ways, 2, 3), torch.randn(2 * ways, 2, 3)
    with torch.no_grad():
        made, state = layer(x, (hidden, cell) if kind == "LSTM" else hidden)
    wanted = [item.numpy() for item in (made, *(state if kind == "LSTM" else (state,)))]
    named = {name: item.detach().numpy().reshape(-1) for name, item in layer.named_parameters()}
    ends = [f"l{n}{way}" for n in range(2) for way in ("", "_reverse")[:ways]]
    flat = [
        named[f"{part}_{end}"]
        for kind in ("weight", "bias")
        for end in ends
        for part in (f"{kind}_ih", f"{kind}_hh")
    ]
    operands = {
        "input": x.numpy(),
        "input_h": hidden.numpy(),
        "input_c": cell.numpy(),
        "params": np.concatenate(flat),
    }
    case = Case("CudnnRNN", operands, constant=("params",))
    node = Node(
        "rnn", "CudnnRNN", (), {"rnn_mode": mode, "direction": "bidirectional" if both else "unidirectional"}
    )
    assert not differences(case, evaluated(case, node)[: len(wanted)], wanted)
    drawings = drawn(case, node, np.random.default_rng(0), moved=True, unbound=False)
    assert not differences(case, drawings[: len(wanted)], wanted)


FUSED = [
    ("_FusedConv2D", ["BiasAdd", "Relu"], 1), ("_FusedConv2D", ["FusedBatchNorm", "Relu6"], 4),
    ("_FusedConv2D", ["BiasAdd"], 1), ("_FusedConv2D", ["BiasAdd", "LeakyRelu"], 1),
    ("_FusedDepthwiseConv2dNative", ["BiasAdd", "Relu6"], 1), ("_FusedMatMul", ["BiasAdd", "Elu"], 1),
    ("_FusedMatMul", ["BiasAdd", "Tanh"], 1),
]  # fmt: skip


@pytest.mark.parametrize(("op", "steps", "count"), FUSED)
def test_what_the_optimiser_fuses(op: str, steps: list[str], count: int) -> None:
    """Nodes as grappler leaves them in a frozen graph, run by TensorFlow's own kernels."""
    tf = pytest.importorskip("tensorflow")
    import numpy as np

    rng = np.random.default_rng(4)
    plain = op == "_FusedMatMul"
    source = rng.normal(size=(3, 4) if plain else (1, 6, 7, 4)).astype(np.float32)
    weights = rng.normal(size=(4, 5) if plain else (3, 3, 4, 1 if "Depthwise" in op else 5)).astype(
        np.float32
    )
    arrays = [rng.uniform(0.2, 2, 4 if "Depthwise" in op else 5).astype(np.float32) for _ in range(count)]
    attrs = {"T": tf.float32, "num_args": count, "fused_ops": steps, "epsilon": 0.001, "leakyrelu_alpha": 0.3}
    attrs |= (
        {"transpose_a": False, "transpose_b": False}
        if plain
        else {"strides": [1, 1, 1, 1], "padding": "SAME"}
    )
    if op == "_FusedConv2D":
        attrs |= {"num_host_args": 0, "TArgs": [tf.float32] * count}
    with tf.Graph().as_default() as graph:
        tensors = [tf.constant(array) for array in (source, weights, *arrays)]
        operands = [*tensors[:2], tensors[2:]] + ([[]] if op == "_FusedConv2D" else [])
        made = tf.raw_ops.Identity(input=_applied(tf, graph, op, operands, attrs))
        with tf.compat.v1.Session(graph=graph) as session:
            right = session.run(made)
    case = Case(op, {"x": source, "w": weights, "args": arrays}, constant=("w", "args"))
    node = Node("fused", op, (), {"fused_ops": steps, "epsilon": 0.001, "leakyrelu_alpha": 0.3, "strides": [1, 1, 1, 1],
                                  "padding": "SAME"})  # fmt: skip
    assert not differences(case, evaluated(case, node), [right])
    assert not differences(
        case, drawn(case, node, np.random.default_rng(0), moved=True, unbound=False), [right]
    )


def _applied(tf: Any, graph: Any, op: str, operands: list[Any], attrs: dict[str, Any]) -> Any:
    """A node of an operator without a public form."""
    definition = tf.compat.v1.NodeDef(name="fused", op=op)
    flat = [item for held in operands for item in (held if isinstance(held, list) else [held])]
    definition.input.extend(item.name for item in flat)
    for key, value in attrs.items():
        held = definition.attr[key]
        if isinstance(value, list) and value and isinstance(value[0], str):
            held.list.s.extend(item.encode() for item in value)
        elif isinstance(value, list) and value and isinstance(value[0], int):
            held.list.i.extend(value)
        elif isinstance(value, list):
            held.list.type.extend(item.as_datatype_enum for item in value)
        elif isinstance(value, bool):
            held.b = value
        elif isinstance(value, int):
            held.i = value
        elif isinstance(value, float):
            held.f = value
        elif isinstance(value, str):
            held.s = value.encode()
        else:
            held.type = value.as_datatype_enum
    whole = graph.as_graph_def()
    whole.node.append(definition)
    return tf.import_graph_def(whole, return_elements=["fused:0"], name="again")[0]
