"""TensorFlow's operators: the numpy evaluator and the drawn graph against TensorFlow itself, cases at random."""

from __future__ import annotations

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
    # the same reader as the form with fewer axes
    "FFT3D", "IFFT3D", "RFFT3D", "SegmentProd", "SegmentSum",
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
    flat = [named[f"{part}_{end}"] for kind in ("weight", "bias") for end in ends for part in (f"{kind}_ih", f"{kind}_hh")]
    operands = {"input": x.numpy(), "input_h": hidden.numpy(), "input_c": cell.numpy(), "params": np.concatenate(flat)}
    case = Case("CudnnRNN", operands, constant=("params",))
    node = Node("rnn", "CudnnRNN", (), {"rnn_mode": mode, "direction": "bidirectional" if both else "unidirectional"})
    assert not differences(case, evaluated(case, node)[: len(wanted)], wanted)
    drawings = drawn(case, node, np.random.default_rng(0), moved=True, unbound=False)
    assert not differences(case, drawings[: len(wanted)], wanted)
