"""Places where models run. One package per target; entries are listed without importing them."""

from __future__ import annotations

from bessemer.targets.base import TargetEntry

FILE_TYPES = (
    "F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q5_1", "Q5_0", "Q4_K_M", "Q4_K_S", "Q4_1", "Q4_0", "IQ4_NL",
    "IQ4_XS", "Q3_K_L", "Q3_K_M", "Q3_K_S", "Q2_K", "Q2_K_S", "TQ1_0", "TQ2_0", "MXFP4_MOE",
)  # fmt: skip
"""Mixes of number formats by llama.cpp's names."""


def _is_ort_flatbuffer(head: bytes) -> bool:
    return head[4:8] == b"ORTM"


TARGETS: tuple[TargetEntry, ...] = (
    TargetEntry(
        name="onnx",
        title="ONNX file",
        module="bessemer.targets.onnx.target",
        summary="A portable .onnx file at a chosen opset.",
        precisions=("float32", "float16", "bfloat16", "mixed", "int8", "int16x8"),
        suffix=".onnx",
        runtime="ONNX Runtime (the standard's reference evaluator where it has no kernel)",
        extra="ort",
        run="bessemer.targets.onnx.run",
        warm=("bessemer.executors", "bessemer.targets.onnx.run", "bessemer.runners.onnx_reference", "onnxruntime"),
    ),
    TargetEntry(
        name="ort",
        title="ONNX Runtime",
        module="bessemer.targets.ort.target",
        summary="A graph optimised offline by ONNX Runtime, as .onnx or .ort.",
        precisions=("float32", "float16", "int8", "int16x8"),
        suffix=".onnx",
        runtime="ONNX Runtime",
        extra="ort",
        run="bessemer.targets.ort.run",
        warm=("bessemer.executors", "bessemer.targets.ort.run", "onnxruntime"),
        sniff=_is_ort_flatbuffer,
        runs="onnx",
    ),
    TargetEntry(
        name="tflite",
        title="TFLite / LiteRT",
        module="bessemer.targets.tflite.target",
        summary="A .tflite flatbuffer, written directly from the schema.",
        precisions=("float32", "float16", "int8", "int16x8", "int8x4", "int8-dynamic"),
        suffix=".tflite",
        runtime="LiteRT",
        extra="tflite",
        run="bessemer.targets.tflite.run",
        warm=("bessemer.executors", "bessemer.targets.tflite.run", "ai_edge_litert.interpreter"),
    ),
    TargetEntry(
        name="gguf",
        title="GGUF",
        module="bessemer.targets.gguf.target",
        summary="One .gguf file for llama.cpp and everything built on it, quantized byte for byte as llama-quantize does.",
        precisions=("keep", *FILE_TYPES),
        suffix=".gguf",
        runtime="llama.cpp",
        extra="gguf",
        pillar="checkpoint",
    ),
    TargetEntry(
        name="ollama",
        title="Ollama",
        module="bessemer.targets.ollama.target",
        summary="A .gguf file with its Modelfile (template, parameters, license); on request in a local Ollama store.",
        precisions=("keep", *FILE_TYPES),
        suffix=".gguf",
        runtime="llama.cpp",
        extra="gguf",
        pillar="checkpoint",
        limits=("Ollama itself is not run: the weights are proven in llama.cpp, which it is built on",),
    ),
    TargetEntry(
        name="safetensors",
        title="Hugging Face directory",
        module="bessemer.targets.safetensors.target",
        summary="model.safetensors (or parts with an index), config.json and tokenizer, as transformers loads them.",
        precisions=("keep", "float32", "float16", "bfloat16"),
        suffix="",
        runtime="transformers",
        extra="gguf",
        pillar="checkpoint",
    ),
    TargetEntry(
        name="pytorch",
        title="PyTorch state dict",
        module="bessemer.targets.pytorch.target",
        summary="pytorch_model.bin as torch.save writes it, made without torch, with config.json and tokenizer.",
        precisions=("keep", "float32", "float16", "bfloat16"),
        suffix="",
        runtime="transformers",
        extra="gguf",
        pillar="checkpoint",
    ),
    TargetEntry(
        name="npz",
        title="NumPy .npz",
        module="bessemer.targets.npz.target",
        summary="model.npz, which numpy.load reads, with config.json and tokenizer.",
        precisions=("keep", "float32", "float16"),
        suffix="",
        runtime="numpy",
        extra="gguf",
        pillar="checkpoint",
        limits=("bfloat16 and float8 weights become float32, which holds each of their values",),
    ),
)
