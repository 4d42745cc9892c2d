"""Formats that Bessemer reads. One file or package per format; entries are listed without importing them."""

from __future__ import annotations

from bessemer.sources.base import Clue, SourceEntry
from bessemer.sources.torch.kinds import SUFFIXES as TORCH_SUFFIXES
from bessemer.sources.torch.kinds import is_torch


def _looks_like_onnx(clue: Clue) -> bool:
    """A ModelProto starts with field 1 (ir_version, varint) or another of its small field numbers."""
    version = len(clue.head) >= 2 and clue.head[0] == 0x08 and 1 <= clue.head[1] <= 0x20
    return version and not _is_saved_model(clue.head)


def _is_saved_model(head: bytes) -> bool:
    """Schema version 1, then a meta graph: a message that starts with another one, where ONNX has a producer's name."""
    if head[:3] != b"\x08\x01\x12":
        return False
    end = next((place for place in range(3, min(len(head), 13)) if head[place] < 0x80), None)
    return end is not None and head[end + 1 : end + 2] in (b"\x0a", b"\x12")


def _is_graph(head: bytes) -> bool:
    """A GraphDef: its first field is a node, whose first fields are a name and an operator."""
    end = next((place for place in range(1, min(len(head), 11)) if head[place] < 0x80), None)
    if head[:1] != b"\x0a" or end is None or head[end + 1 : end + 2] != b"\x0a" or len(head) < end + 3:
        return False
    after = end + 3 + head[end + 2]
    return head[after : after + 1] == b"\x12" and head[end + 3 : after].isascii()


def _looks_like_tflite(clue: Clue) -> bool:
    return clue.head[4:8] == b"TFL3"


def _looks_like_tensorflow(clue: Clue) -> bool:
    """A folder with saved_model.pb, that file itself, a GraphDef, or a MetaGraphDef beside a checkpoint."""
    if clue.path.is_dir():
        return "saved_model.pb" in clue.entries
    if clue.path.suffix == ".meta":
        return clue.head[:1] == b"\x0a"
    return _is_saved_model(clue.head) or _is_graph(clue.head)


def _looks_like_bsm(clue: Clue) -> bool:
    """A zip whose first entry has our name."""
    return clue.head[:4] == b"PK\x03\x04" and clue.head[30:43] == b"bessemer.json"


def _looks_like_huggingface(clue: Clue) -> bool:
    """A directory with a config.json, or with model files of other formats, as model hubs hold them."""
    if not clue.entries or "saved_model.pb" in clue.entries:
        return False
    from bessemer.sources.huggingface.directory import looks_like

    return looks_like(clue.entries)


def _looks_like_keras(clue: Clue) -> bool:
    """HDF5, whatever is in it (that is looked at on opening), or a zip with Keras 3's members."""
    return clue.head[:8] == b"\x89HDF\r\n\x1a\n" or {"config.json", "model.weights.h5"} <= set(clue.members)


def _looks_like_join(clue: Clue) -> bool:
    """A JSON object whose first key is ours."""
    return clue.head.lstrip()[:40].replace(b" ", b"").replace(b"\n", b"").startswith(b'{"bessemer_join"')


def _looks_like_gguf(clue: Clue) -> bool:
    return clue.head[:4] == b"GGUF"


def _looks_like_ggml(clue: Clue) -> bool:
    """Names of older formats, as numbers in little endian."""
    return clue.head[:4] in (b"lmgg", b"fmgg", b"tjgg")


def _looks_like_llama2c(clue: Clue) -> bool:
    """Sizes of a model that account for every byte of the file."""
    if len(clue.head) < 28:
        return False
    from bessemer.wire.llama2c import plausible

    return plausible(clue.head, clue.path.stat().st_size)


def _looks_like_npz(clue: Clue) -> bool:
    """A zip archive of arrays alone."""
    return bool(clue.members) and all(name.endswith(".npy") for name in clue.members)


SOURCES: tuple[SourceEntry, ...] = (
    SourceEntry(
        name="gguf",
        title="GGUF",
        suffixes=(".gguf",),
        module="bessemer.sources.gguf",
        sniff=_looks_like_gguf,
        summary="llama.cpp's model files: weights of every type, settings and tokenizer.",
        reads=(
            "versions 1 to 3, little and big endian, files in several parts (NAME-00001-of-00003.gguf)",
            "every tensor type of ggml; an architecture that no table knows can still be written to GGUF in other types",
        ),
        limits=(
            "declined: types that ggml removed; in big-endian files, blocks of no certain byte order (Q5_0, IQ2_XXS, ...)",
        ),
        runtime="llama.cpp",
        extra="gguf",
        checkpoint="bessemer.sources.gguf:checkpoint",
        weights=True,
    ),
    SourceEntry(
        name="ggml",
        title="Legacy GGML",
        suffixes=(".ggml",),
        module="bessemer.sources.ggml",
        sniff=_looks_like_ggml,
        summary="What ggml wrote before GGUF: llama.cpp's GGML, GGMF and GGJT 1 to 3, rwkv.cpp's GGMF.",
        reads=(
            "Llama models with their vocabularies; old Q4_0, Q4_1, Q4_2, Q4_3 and Q8_0 blocks are decoded to float32",
            "RWKV models by rwkv.cpp's names",
        ),
        limits=(
            "context length, rotation base and epsilon stand nowhere in them: those of Llama 1 or 2 are taken, and noted",
            "refused: models of other programs behind the same first bytes (whisper.cpp); rwkv.cpp's blocks of version 100",
        ),
        runtime="Bessemer's evaluator of the architecture, in numpy",
        extra="gguf",
        checkpoint="bessemer.sources.ggml:checkpoint",
        weights=True,
    ),
    SourceEntry(
        name="llama2c",
        title="llama2.c",
        suffixes=(".bin",),
        module="bessemer.sources.llama2c",
        sniff=_looks_like_llama2c,
        summary="Llama models of llama2.c, with the tokenizer.bin or tok512.bin beside them.",
        reads=(
            "versions 0 and 1 (float32) and 2 (groups of int8, decoded to float32)",
            "the .pt files of its training (source `torch`), Meta's and Mistral's consolidated files (`huggingface`)",
        ),
        runtime="Bessemer's evaluator of the architecture, in numpy",
        extra="gguf",
        checkpoint="bessemer.sources.llama2c:checkpoint",
        weights=True,
    ),
    SourceEntry(
        name="npz",
        title="NumPy .npz",
        suffixes=(".npz",),
        module="bessemer.sources.npz",
        sniff=_looks_like_npz,
        summary="Archives of numpy arrays, stored or deflated, by their names; settings of a config.json beside them.",
        limits=("never: arrays of Python objects, which are pickled",),
        checkpoint="bessemer.sources.npz:checkpoint",
        weights=True,
        runtime="Bessemer's evaluator of the architecture, in numpy",
    ),
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
        part="bessemer.sources.onnx.part:runner",
        checker="bessemer.sources.onnx.checker:refusal",
        checkpoint="bessemer.sources.onnx.checkpoint:checkpoint",
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
        channels_last=True,
        part="bessemer.sources.tflite.part:runner",
        checker="bessemer.sources.tflite.checker:refusal",
    ),
    SourceEntry(
        name="tensorflow",
        title="TensorFlow",
        suffixes=(".pb", ".meta"),
        module="bessemer.sources.tensorflow",
        channels_last=True,
        sniff=_looks_like_tensorflow,
        summary="SavedModels of TensorFlow 1 and 2, frozen graphs and checkpoints, read without TensorFlow.",
        reads=(
            "SavedModel folders (signatures by name, or the object's own functions), .meta graphs beside a .ckpt",
            "frozen .pb graphs, between their ends or any values that --inputs and --outputs name",
            "variables from tensor bundles, sharded and partitioned, and from checkpoints of the first version",
            "functions inlined; If, Case and While of both versions of control flow; lists of tensors",
            "LSTM, GRU and plain recurrent layers recognised in loops by what they compute",
        ),
        limits=(
            "declined: variables assigned while the model runs, hash tables, strings, random numbers",
            "an input of unknown rank needs --shape",
        ),
        runtime="TensorFlow, or a reference evaluator in numpy",
        extra="tensorflow",
        warm=("bessemer.executors", "bessemer.sources.tensorflow", "bessemer.runners.tensorflow.runner"),
    ),
    SourceEntry(
        name="keras",
        title="Keras",
        suffixes=(".h5", ".hdf5", ".keras"),
        module="bessemer.sources.keras",
        channels_last=True,
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
        runtime="tf_keras (.h5) or Keras 3 (.keras), or in a numpy evaluator of its layers where neither is installed",
        extra="tensorflow",
        warm=(
            "bessemer.executors",
            "bessemer.sources.keras.reference",
            "bessemer.sources.keras.weights",
            "bessemer.runners.keras.runtime",
            "bessemer.runners.keras.convolution",
            "bessemer.runners.keras.recurrent",
        ),
    ),
    SourceEntry(
        name="join",
        title="Bessemer join",
        suffixes=(".join",),
        module="bessemer.sources.join",
        sniff=_looks_like_join,
        summary="A plan of joined models, as `bessemer join` writes it: several originals, read as one graph.",
        reads=("members of any other format, mixed; axis orders and types that the plan states",),
        limits=("the members stay where they are: a changed one is refused",),
        runtime="the runtime of each member, piped",
        warm=("bessemer.executors", "bessemer.sources.join"),
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
        part="bessemer.sources.bsm:part",
    ),
    SourceEntry(
        name="huggingface",
        title="Hugging Face directory",
        suffixes=(),
        module="bessemer.sources.huggingface",
        sniff=_looks_like_huggingface,
        summary="config.json and weights (safetensors or .bin, sharded or not), exported for the architecture's task.",
        reads=(
            "the task from `architectures`, another one with `--task`; inputs, outputs and axes named as Optimum does",
            "causal language models with keys and values of earlier tokens; encoders and decoders, together or apart",
            "float16 and bfloat16 weights, which stay so in the artifact",
            "an ONNX, TFLite, Keras or other model file where the directory has no weights for transformers",
            "tokenizers, preprocessors and settings: they are placed beside every artifact",
        ),
        limits=(
            "never: code that a directory brings (`trust_remote_code`), pickled objects, downloads",
            "declined: weights packed by another library (GPTQ, AWQ, bitsandbytes), caches that are no keys and values",
        ),
        runtime="transformers",
        extra="hf",
        warm=("bessemer.executors", "bessemer.sources.huggingface", "torch", "transformers"),
        stand_in="bessemer.sources.huggingface.directory:stand_in",
        page="bessemer.sources.huggingface.tasks:page",
        checkpoint="bessemer.sources.huggingface.checkpoint:checkpoint",
    ),
    SourceEntry(
        name="torch",
        title="PyTorch",
        suffixes=(*TORCH_SUFFIXES, ".py"),
        module="bessemer.sources.torch",
        sniff=is_torch,
        summary="ExportedPrograms, TorchScript, modules that Python code builds, and state dicts with a factory.",
        reads=(
            ".pt2 of torch.export.save, looked through before torch loads it; free axes stay free",
            "FILE.py:FUNCTION, which returns a module, (module, example_inputs) or (module, example_inputs, dynamic_shapes)",
            "state dicts (.pt, .pth, .bin, .th, .safetensors; the legacy format, too) without unpickling, with --factory",
            "TorchScript, run as it is and converted through torch.export; --shape says its inputs",
        ),
        limits=(
            "declined: pickled whole modules, operators without an ONNX form in torch's exporter, complex borders",
            "what forward writes into its buffers does not last from call to call",
        ),
        runtime="PyTorch",
        extra="torch",
        warm=("bessemer.executors", "bessemer.sources.torch", "torch"),
        checkpoint="bessemer.sources.torch.checkpoint:checkpoint",
    ),
)
