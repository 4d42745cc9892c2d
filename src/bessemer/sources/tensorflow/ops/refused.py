"""Operators that have no place in a converted model, with the reason and the way out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bessemer.ir.types import Shape
from bessemer.sources.drawing import Canvas, Ordered, Unsupported
from bessemer.sources.tensorflow.node import Node
from bessemer.sources.tensorflow.registry import op

RANDOM = (
    "RandomUniform", "RandomStandardNormal", "RandomUniformInt", "TruncatedNormal", "Multinomial", "RandomShuffle",
    "RandomGamma", "RandomPoissonV2", "ParameterizedTruncatedNormal", "StatelessRandomUniform", "StatelessRandomNormal",
    "StatelessRandomUniformV2", "StatelessRandomNormalV2", "StatelessRandomUniformInt", "StatelessRandomUniformIntV2",
    "StatelessTruncatedNormal", "StatelessTruncatedNormalV2", "StatelessMultinomial", "StatelessRandomGetKeyCounter",
    "StatelessRandomGetAlg", "RngReadAndSkip", "StatefulUniform", "StatefulStandardNormalV2", "RandomCrop",
    "RandomIndexShuffle", "StatefulTruncatedNormal", "StatefulUniformFullInt", "NonDeterministicInts",
)  # fmt: skip
TEXT = (
    "AsString", "DecodeBase64", "EncodeBase64", "ReduceJoin", "RegexFullMatch", "RegexReplace", "StaticRegexFullMatch",
    "StaticRegexReplace", "StringFormat", "StringJoin", "StringLength", "StringLower", "StringNGrams", "StringSplit",
    "StringSplitV2", "StringStrip", "StringToHashBucketFast", "StringToHashBucket", "StringToHashBucketStrong",
    "StringToNumber", "StringUpper", "Substr", "UnicodeDecode", "UnicodeDecodeWithOffsets", "UnicodeEncode",
    "UnicodeScript", "UnicodeTranscode", "UnsortedSegmentJoin",
)  # fmt: skip
FILES = (
    "DecodeAndCropJpeg", "DecodeBmp", "DecodeCSV", "DecodeGif", "DecodeImage", "DecodeJpeg", "DecodeJSONExample",
    "DecodePng", "DecodeRaw", "DecodePaddedRaw", "DecodeWav", "DecodeCompressed", "EncodeJpeg", "EncodePng", "EncodeWav",
    "ExtractJpegShape", "ParseExample", "ParseExampleV2", "ParseSingleExample", "ParseSequenceExample",
    "ParseSequenceExampleV2", "ParseTensor", "ReadFile", "WriteFile", "SerializeTensor", "DecodeProtoV2", "EncodeProto",
)  # fmt: skip
QUANTIZED = (
    "Quantize", "QuantizeV2", "Dequantize", "QuantizedAdd", "QuantizedAvgPool", "QuantizedBatchNormWithGlobalNormalization",
    "QuantizedBiasAdd", "QuantizedConcat", "QuantizedConv2D", "QuantizedDepthwiseConv2D", "QuantizedInstanceNorm",
    "QuantizedMatMul", "QuantizedMaxPool", "QuantizedMul", "QuantizedRelu", "QuantizedRelu6", "QuantizedReshape",
    "QuantizedResizeBilinear", "QuantizeDownAndShrinkRange", "Requantize", "RequantizationRange", "UniformQuantize",
    "UniformDequantize", "UniformQuantizedConvolution", "UniformQuantizedDot", "QuantizeAndDequantize",
)  # fmt: skip
SPARSE = (
    "SparseAdd", "SparseConcat", "SparseCross", "SparseDenseCwiseAdd", "SparseDenseCwiseMul", "SparseFillEmptyRows",
    "SparseMatMul", "SparseReduceSum", "SparseReorder", "SparseReshape", "SparseSegmentMean", "SparseSegmentSqrtN",
    "SparseSegmentSum", "SparseSlice", "SparseSoftmax", "SparseSplit", "SparseTensorDenseMatMul", "SparseToDense",
    "RaggedGather", "RaggedRange", "RaggedTensorToSparse", "RaggedTensorToTensor", "RaggedTensorToVariant",
    "RaggedTensorFromVariant", "RaggedBincount", "SparseBincount",
)  # fmt: skip
FUNCTIONS = (
    "Betainc", "Bessel", "BesselI0", "BesselI0e", "BesselI1", "BesselI1e", "Digamma", "Erfinv", "Igamma", "Igammac",
    "Lgamma", "Ndtri", "NextAfter", "Polygamma", "Zeta", "Dawsn", "Expint", "FresnelCos", "FresnelSin", "Spence",
)  # fmt: skip
ALGEBRA = (
    "Cholesky", "MatrixDeterminant", "LogMatrixDeterminant", "MatrixInverse", "MatrixSolve", "MatrixSolveLs",
    "MatrixSquareRoot", "MatrixExponential", "MatrixLogarithm", "MatrixTriangularSolve", "Qr", "SelfAdjointEig",
    "SelfAdjointEigV2", "Svd", "Lu", "Eig", "TridiagonalSolve", "TridiagonalMatMul", "BandedTriangularSolve",
)  # fmt: skip
METRICS = (
    "InTopK", "InTopKV2", "HistogramFixedWidth", "HistogramSummary", "ScalarSummary", "ImageSummary", "MergeSummary",
    "AudioSummary", "AudioSummaryV2", "EditDistance", "SoftmaxCrossEntropyWithLogits",
    "SparseSoftmaxCrossEntropyWithLogits", "CTCLoss", "CTCLossV2", "BroadcastGradientArgs",
)  # fmt: skip
BITS = ("Bitcast", "PopulationCount", "CompareAndBitpack")
OTHERS: dict[str, tuple[str, str]] = {
    "PyFunc": ("it calls Python code that is not in the model", "write the function in TensorFlow operators"),
    "EagerPyFunc": ("it calls Python code that is not in the model", "write the function in TensorFlow operators"),
    "PyFuncStateless": ("it calls Python code that is not in the model", "write the function in TensorFlow operators"),
    "NumericalPlaceholder": ("it stands for what training feeds", "export an inference graph"),
    "CTCGreedyDecoder": ("its answer is a sparse tensor", "take the logits as the output and decode them outside"),
    "CTCBeamSearchDecoder": ("its answer is a sparse tensor", "take the logits as the output and decode them outside"),
    "XlaCallModule": ("it holds a StableHLO program", "export with jax2tf's native_serialization=False"),
    "TPUPartitionedCall": ("it is compiled for TPUs", "export the model for CPU"),
    "TPUReplicatedInput": ("it is compiled for TPUs", "export the model for CPU"),
    "ResizeArea": ("ONNX averages no areas", "resize bilinearly with antialias, or pool"),
    "ScaleAndTranslate": ("its kernels (antialiased resizing) have no ONNX form", "resize without antialias"),
    "FractionalMaxPool": ("its windows are drawn at random", "use MaxPool"),
    "FractionalAvgPool": ("its windows are drawn at random", "use AvgPool"),
    "ListDiff": ("its answer's length depends on the data", "compute it outside of the model"),
    "NonMaxSuppressionWithOverlaps": ("ONNX suppresses by boxes, not by a matrix of overlaps", "give it boxes"),
    "GenerateBoundingBoxProposals": ("ONNX has no such operator", "export the head as NonMaxSuppression"),
    "FusedPadConv2D": ("it pads and convolves at once", "export the graph before it is optimised"),
    "FusedResizeAndPadConv2D": ("it resizes, pads and convolves at once", "export the graph before it is optimised"),
    "Dilation2D": ("ONNX has no grey-scale dilation", "use MaxPool"),
    "Print": ("it prints", "export an inference graph"),
}  # fmt: skip

REASONS = (
    (RANDOM, "random", "its answer is drawn at random", "export the model for inference, or feed the numbers as an input"),
    (TEXT, "strings", "it works on text", "cut the model behind it (--inputs) and do this step outside"),
    (FILES, "decoding", "it decodes a file's bytes", "cut the model behind it (--inputs) and feed decoded data"),
    (QUANTIZED, "legacy-quantized", "the integer operators of TensorFlow 1's eight-bit rewriter carry ranges at run time",
     "convert the float graph and quantize here (--precision int8)"),
    (SPARSE, "sparse", "it computes with sparse or ragged tensors, which ONNX has none of", "use dense tensors"),
    (FUNCTIONS, "special-function", "ONNX has no such function", "replace it by a table or a polynomial"),
    (ALGEBRA, "linear-algebra", "ONNX has no decomposition of matrices", "compute it outside of the model"),
    (METRICS, "metric", "it scores a model or trains it, and is no part of one", "export an inference graph"),
    (BITS, "bits", "ONNX does not look at the bits of a number", "compute it outside of the model"),
)  # fmt: skip


def decoded(node: Node) -> list[tuple[Shape, Any]]:
    """Shape and type of what a decoder answers, from its attributes; none for the others."""
    import onnx_ir

    if node.op == "DecodeWav":
        sizes = (int(node.attrs.get(f"desired_{name}", -1)) for name in ("samples", "channels"))
        sound: Shape = tuple(size if size > 0 else None for size in sizes)
        return [(sound, onnx_ir.DataType.FLOAT), ((), onnx_ir.DataType.INT32)]
    if node.op in ("DecodeBmp", "DecodeJpeg", "DecodePng"):
        channels = int(node.attrs.get("channels", 0)) or None
        wide = "16" in str(node.attrs.get("dtype", ""))
        return [((None, None, channels), onnx_ir.DataType.UINT16 if wide else onnx_ir.DataType.UINT8)]
    return []


@op(*(name for names, *_ in REASONS for name in names), *OTHERS)
def refuse(canvas: Canvas, node: Node, inputs: Sequence[Ordered]) -> Ordered:
    """Always raises Unsupported."""
    for names, rule, reason, rewrite in REASONS:
        if node.op in names:
            raise Unsupported(rule, reason, rewrite, decoded(node))
    reason, rewrite = OTHERS[node.op]
    raise Unsupported("no-onnx-operator", reason, rewrite)
