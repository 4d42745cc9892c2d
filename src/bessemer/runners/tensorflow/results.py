"""Which results operators have, in order: functions name them 'node:output:0', graphs number them 'node:1'.

From TensorFlow's operator registry (tensorflow/core/ops/*.cc); operators with one output argument are not listed. A
name with '*' stands for as many results as the attribute behind it says, or has entries.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MOMENTS = "y batch_mean batch_variance reserve_space_1 reserve_space_2"
CELL = "i cs f o ci co h"
QUANTIZED = "output min_output max_output"
RESULTS: dict[str, str] = {
    "BatchSelfAdjointEigV2": "e v", "BlockLSTM": CELL, "BlockLSTMV2": CELL, "LSTMBlockCell": CELL,
    "GRUBlockCell": "r u c h", "CombinedNonMaxSuppression": "nmsed_boxes nmsed_scores nmsed_classes valid_detections",
    "CTCBeamSearchDecoder": "decoded_indices*top_paths decoded_values*top_paths decoded_shape*top_paths log_probability",
    "CTCGreedyDecoder": "decoded_indices decoded_values decoded_shape log_probability",
    "CudnnRNN": "output output_h output_c reserve_space",
    "CudnnRNNV2": "output output_h output_c reserve_space host_reserved",
    "CudnnRNNV3": "output output_h output_c reserve_space host_reserved", "DecodeWav": "audio sample_rate",
    "Eig": "e v", "FractionalAvgPool": "output row_pooling_sequence col_pooling_sequence",
    "FractionalMaxPool": "output row_pooling_sequence col_pooling_sequence", "FusedBatchNorm": MOMENTS,
    "FusedBatchNormV2": MOMENTS, "FusedBatchNormV3": MOMENTS + " reserve_space_3",
    "GenerateBoundingBoxProposals": "rois roi_probabilities", "IsotonicRegression": "output segments",
    "ListDiff": "out idx", "LogMatrixDeterminant": "sign log_abs_determinant", "Lu": "lu p",
    "LookupTableExport": "keys values", "LookupTableExportV2": "keys values", "MaxPoolWithArgmax": "output argmax",
    "Merge": "output value_index", "RefMerge": "output value_index",
    "NonMaxSuppressionV4": "selected_indices valid_outputs",
    "NonMaxSuppressionV5": "selected_indices selected_scores valid_outputs", "ParseExample":
    "sparse_indices*Nsparse sparse_values*sparse_types sparse_shapes*Nsparse dense_values*Tdense", "ParseExampleV2":
    "sparse_indices*num_sparse sparse_values*sparse_types sparse_shapes*num_sparse dense_values*Tdense "
    "ragged_values*ragged_value_types ragged_row_splits*ragged_split_types", "Qr": "q r",
    "QuantizedAdd": "z min_z max_z", "QuantizedAvgPool": QUANTIZED, "QuantizedBiasAdd": "output min_out max_out",
    "QuantizedConv2D": QUANTIZED, "QuantizedMatMul": "out min_out max_out", "QuantizedMaxPool": QUANTIZED,
    "QuantizedMul": "z min_z max_z", "QuantizedRelu": "activations min_activations max_activations",
    "QuantizedRelu6": "activations min_activations max_activations", "QuantizeV2": "output output_min output_max",
    "Requantize": "output output_min output_max", "RequantizationRange": "output_min output_max",
    "SampleDistortedBoundingBox": "begin size bboxes", "SampleDistortedBoundingBoxV2": "begin size bboxes",
    "SelfAdjointEigV2": "e v", "SoftmaxCrossEntropyWithLogits": "loss backprop",
    "SparseSoftmaxCrossEntropyWithLogits": "loss backprop", "SparseFillEmptyRows":
    "output_indices output_values empty_row_indicator reverse_index_map", "SparseReorder": "output_indices output_values",
    "SparseReshape": "output_indices output_shape", "SparseSlice": "output_indices output_values output_shape",
    "StatelessRandomGetKeyCounter": "key counter", "StringNGrams": "ngrams ngrams_splits",
    "StringSplit": "indices values shape", "StringSplitV2": "indices values shape", "Svd": "s u v",
    "Switch": "output_false output_true", "RefSwitch": "output_false output_true", "TensorArrayV3": "handle flow",
    "TensorArrayConcatV3": "value lengths", "TensorListConcat": "tensor lengths", "TensorListConcatV2": "tensor lengths",
    "TensorListPopBack": "output_handle tensor", "TopK": "values indices", "TopKV2": "values indices",
    "UnicodeDecode": "row_splits char_values", "UnicodeDecodeWithOffsets": "row_splits char_values char_to_byte_starts",
    "Unique": "y idx", "UniqueV2": "y idx", "UniqueWithCounts": "y idx count", "UniqueWithCountsV2": "y idx count",
}  # fmt: skip


def place(op: str, attrs: Mapping[str, Any], output: str, number: int) -> int:
    """Which result of an operator 'output:number' is, counted over all of its output arguments."""
    start = 0
    for item in RESULTS.get(op, "").split():
        name, _, counted = item.partition("*")
        if name == output:
            return start + number
        start += _count(attrs.get(counted)) if counted else 1
    return number


def _count(held: Any) -> int:
    return len(held) if isinstance(held, list) else int(held or 0)
