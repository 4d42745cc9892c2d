"""ONNX's own node tests, converted down and run in ONNX Runtime: what was not declined must give the stated outputs."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from bessemer.passes.opset import ConvertOpset
from bessemer.passes.standard import ToCanonicalOpset

VERSIONS = (7, 11, 13, 17, 21)
RANDOM = ("bernoulli", "training_dropout")
"""Cases whose stated outputs come from a generator that no runtime shares (Bernoulli) or that no opset kept."""
PEERS = 20
"""The fast test takes every so many cases."""


@pytest.mark.parametrize("version", VERSIONS)
def test_a_sample_keeps_its_outputs(version: int) -> None:
    ran, wrong = _sweep(version, PEERS)
    assert not wrong
    assert ran > 10


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_all_cases_keep_their_outputs(version: int) -> None:
    ran, wrong = _sweep(version, 1)
    assert not wrong
    assert ran > 400


@pytest.mark.parametrize(
    ("name", "version", "reason"),
    [
        ("test_training_dropout", 11, "training mode"),
        ("test_dropout_default_mask", 11, "mask"),
        ("test_dequantizelinear_int4", 11, "no int4"),
        ("test_maxpool_with_argmax_2d_precomputed_pads", 7, "output 1"),
    ],
)
def test_what_was_once_lost_in_silence_is_declined(name: str, version: int, reason: str) -> None:
    case = next(case for case in _cases() if case.name == name)
    declined = _lowered(_with_constants(case)[0], version)[1]
    assert reason in declined[0]


@cache
def _cases() -> tuple[Any, ...]:
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tuple(collect_testcases())


def _sweep(version: int, step: int) -> tuple[int, list[str]]:
    """Cases that ran, and those of them whose outputs differ from the stated ones though the original's do not."""
    ran, wrong = 0, []
    for case in _cases()[::step]:
        have = {item.domain: item.version for item in case.model.opset_import}
        if have.keys() != {""} or have[""] <= version or any(word in case.name for word in RANDOM):
            continue
        proto, inputs = _with_constants(case)
        graph, declined = _lowered(proto, version)
        if declined:
            continue
        outputs = _run(ir.to_proto(graph), inputs)
        if outputs is None:
            continue
        ran += 1
        if not _same(outputs, case) and _same(_run(proto, inputs), case):
            wrong.append(case.name)
    return ran, wrong


def _lowered(proto: onnx.ModelProto, version: int) -> tuple[ir.Model, tuple[str, ...]]:
    """The road of every model: first the canonical opset, then the asked one."""
    graph = ir.from_proto(proto)
    ToCanonicalOpset().run(graph)
    return graph, ConvertOpset(version).run(graph).declined


def _with_constants(case: Any) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """Small later inputs (axes, sizes, bounds) as initializers, which is how real files have them."""
    proto = onnx.ModelProto()
    proto.CopyFrom(case.model)
    proto.ir_version = min(proto.ir_version, 10)
    given = dict(zip([item.name for item in proto.graph.input], case.data_sets[0][0], strict=False))
    for name, value in list(given.items())[1:]:
        if (
            len(case.data_sets) == 1
            and isinstance(value, np.ndarray)
            and value.size < 64
            and value.dtype.kind in "iuf"
        ):
            proto.graph.initializer.append(onnx.numpy_helper.from_array(given.pop(name), name))
    kept = [item for item in proto.graph.input if item.name in given]
    del proto.graph.input[:]
    proto.graph.input.extend(kept)
    inferred = onnx.shape_inference.infer_shapes(proto)
    return inferred, {k: np.asarray(v) if isinstance(v, np.generic) else v for k, v in given.items()}


def _run(proto: onnx.ModelProto, inputs: dict[str, Any]) -> list[Any] | None:
    """Outputs in ONNX Runtime; None where it has no kernel."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
        return list(session.run(None, inputs))
    except (*_refusals(), ValueError, RuntimeError, TypeError):
        return None


def _refusals() -> tuple[type[Exception], ...]:
    state = onnxruntime.capi.onnxruntime_pybind11_state
    return tuple(
        getattr(state, name)
        for name in ("Fail", "InvalidArgument", "InvalidGraph", "NotImplemented", "RuntimeException")
    )


def _same(outputs: list[Any] | None, case: Any) -> bool:
    stated = case.data_sets[0][1]
    return outputs is not None and all(_close(a, b, case) for a, b in zip(outputs, stated, strict=True))


def _close(got: Any, want: Any, case: Any) -> bool:
    if isinstance(want, list):
        return len(got) == len(want) and all(_close(a, b, case) for a, b in zip(got, want, strict=True))
    if want is None or got is None:
        return got is want
    got, want = np.asarray(got), np.asarray(want)
    if got.shape != want.shape:
        return False
    if want.dtype.kind in "OUS":
        return bool((got.astype(str) == want.astype(str)).all())
    wide = np.complex128 if want.dtype.kind == "c" else np.float64
    return bool(
        np.allclose(
            got.astype(wide), want.astype(wide), max(case.rtol, 1e-3), max(case.atol, 1e-5), equal_nan=True
        )
    )
