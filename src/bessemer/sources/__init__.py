"""Formats that Bessemer reads. One file or package per format; entries are listed without importing them."""

from __future__ import annotations

from bessemer.sources.base import Clue, SourceEntry


def _looks_like_onnx(clue: Clue) -> bool:
    """A ModelProto starts with field 1 (ir_version, varint) or another of its small field numbers."""
    return len(clue.head) >= 2 and clue.head[0] == 0x08 and 1 <= clue.head[1] <= 0x20


def _looks_like_tflite(clue: Clue) -> bool:
    return clue.head[4:8] == b"TFL3"


def _looks_like_bsm(clue: Clue) -> bool:
    """A zip whose first entry has our name."""
    return clue.head[:4] == b"PK\x03\x04" and clue.head[30:43] == b"bessemer.json"


def _looks_like_keras(clue: Clue) -> bool:
    """HDF5, whatever is in it (that is looked at on opening), or a zip with Keras 3's members."""
    return clue.head[:8] == b"\x89HDF\r\n\x1a\n" or {"config.json", "model.weights.h5"} <= set(clue.members)


SOURCES: tuple[SourceEntry, ...] = (
    SourceEntry(
        name="onnx",
        title="ONNX",
        suffixes=(".onnx",),
        module="bessemer.sources.onnx",
        sniff=_looks_like_onnx,
        summary="ONNX models, opset 7 to the newest, with external data, functions and subgraphs.",
        reads=(
            "external data, memory-mapped and confined to the model's folder",
            "QDQ and QOperator quantized models (they become encodings)",
            "float16, bfloat16, int4, float8 weights",
        ),
        runtime="ONNX Runtime",
        extra="ort",
        warm=("bessemer.executors", "bessemer.sources.onnx", "onnx", "onnxruntime"),
        arbiter="bessemer.runners.onnx_reference:of_file",
        checker="bessemer.sources.onnx.checker:refusal",
    ),
    SourceEntry(
        name="tflite",
        title="TensorFlow Lite / LiteRT",
        suffixes=(".tflite", ".lite"),
        module="bessemer.sources.tflite",
        sniff=_looks_like_tflite,
        summary="TFLite flatbuffers: float, float16, dynamic-range, full-integer and sparse models.",
        reads=(
            "int8, uint8, int16x8 and int4 tensors (they become encodings, loss-free)",
            "channels-last layouts: convolutions follow one another without a Transpose",
            "several signatures",
        ),
        limits=(
            "declined: variables assigned while the model runs, hash tables, complex inputs and outputs",
            "recurrent state starts at zero in every call; only an LSTM written back to TFLite keeps it",
        ),
        runtime="LiteRT",
        extra="tflite",
        warm=("bessemer.executors", "bessemer.sources.tflite", "ai_edge_litert.interpreter"),
        checker="bessemer.sources.tflite.checker:refusal",
    ),
    SourceEntry(
        name="keras",
        title="Keras",
        suffixes=(".h5", ".hdf5", ".keras"),
        module="bessemer.sources.keras",
        sniff=_looks_like_keras,
        summary="Whole Keras models: .h5 of Keras 1, 2, tf.keras and 3, and .keras; neither Keras nor TensorFlow is needed.",
        reads=(
            "Sequential and functional models, with shared layers, models inside models, several inputs and outputs",
            "weights by name (.h5) and by place (.keras), memory-mapped where they are stored whole",
            "functions of Keras 3 (`keras.ops`) and of TensorFlow between layers",
            "masks of Embedding and Masking, as Keras hands them on",
        ),
        limits=(
            "Python code in a file (Lambda, classes of your own) is never run: such layers are declined, all at once",
            "a file of weights alone holds no model",
        ),
        runtime="tf_keras (.h5) or Keras 3 (.keras)",
        extra="tensorflow",
        warm=("bessemer.executors", "bessemer.sources.keras"),
    ),
    SourceEntry(
        name="bsm",
        title="Bessemer archive",
        suffixes=(".bsm",),
        module="bessemer.sources.bsm",
        sniff=_looks_like_bsm,
        summary="A model between two stages, as `convert --stop-after` saves it; converting it goes on from there.",
        reads=("the graph, its encodings, layouts and original layer names; weights memory-mapped",),
        limits=("the original stays outside: it must lie where it was, or beside the archive",),
        runtime="the runtime of the original",
        warm=("bessemer.executors", "bessemer.sources.bsm", "onnx"),
    ),
)
