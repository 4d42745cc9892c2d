"""Run an artifact over a task's samples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from tasks.data import Array, Data

Feed = dict[str, Array]
Run = Callable[[Feed], list[Array]]
"""Inputs by name to all outputs in the model's order."""


def onnx_run(path: Path) -> Run:
    """A model in ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 2, 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda feed: session.run(None, feed)


def onnx_inputs(path: Path) -> list[str]:
    """Names of the inputs."""
    import onnx

    return [value.name for value in onnx.load(path, load_external_data=False).graph.input]


def tflite_run(path: Path) -> Run:
    """A model in LiteRT, float at its borders; inputs are told apart by their shapes."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=2)
    interpreter.allocate_tensors()
    places = {tuple(item["shape"]): item["index"] for item in interpreter.get_input_details()}

    def run(feed: Feed) -> list[Array]:
        for array in feed.values():
            interpreter.set_tensor(places[array.shape], array)
        interpreter.invoke()
        return [interpreter.get_tensor(item["index"]) for item in interpreter.get_output_details()]

    return run


def play(run: Run, data: Data, samples: Array, name: str) -> tuple[list[Array], list[Feed]]:
    """The first output for each sample, and what the model was fed: where the task has a state, the output of the
    state's shape is the next sample's."""
    states = {key: np.zeros(shape, np.float32) for key, shape in data.state.items()}
    results, feeds = [], []
    for sample in samples:
        feeds.append({name: sample, **states})
        found = run(feeds[-1])
        results.append(next(item for item in found if item.shape not in data.state.values()))
        states = {key: next(item for item in found if item.shape == shape) for key, shape in data.state.items()}
    return results, feeds
