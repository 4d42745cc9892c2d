"""TFLite schema as data: tables, fields, enumerations. Written by scripts/gen_tflite_schema.py.

A field is (slot, name, kind, default). Kinds: a scalar ("i32"), "str", a table ("Tensor"), a vector of
those ("[i32]"), or a union ("BuiltinOptions?"; its type is the field before it).
"""

# fmt: off
from __future__ import annotations

from enum import IntEnum


class TensorType(IntEnum):
    """Values of `TensorType`."""

    FLOAT32 = 0
    FLOAT16 = 1
    INT32 = 2
    UINT8 = 3
    INT64 = 4
    STRING = 5
    BOOL = 6
    INT16 = 7
    COMPLEX64 = 8
    INT8 = 9
    FLOAT64 = 10
    COMPLEX128 = 11
    UINT64 = 12
    RESOURCE = 13
    VARIANT = 14
    UINT32 = 15
    UINT16 = 16
    INT4 = 17
    BFLOAT16 = 18
    INT2 = 19
    UINT4 = 20
    FLOAT8_E4M3FN = 21
    FLOAT8_E5M2 = 22


class QuantizationDetails(IntEnum):
    """Values of `QuantizationDetails`."""

    NONE = 0
    CustomQuantization = 1
    BlockwiseQuantization = 2
    MultiAxisQuantization = 3


class DimensionType(IntEnum):
    """Values of `DimensionType`."""

    DENSE = 0
    SPARSE_CSR = 1


class SparseIndexVector(IntEnum):
    """Values of `SparseIndexVector`."""

    NONE = 0
    Int32Vector = 1
    Uint16Vector = 2
    Uint8Vector = 3


class BuiltinOperator(IntEnum):
    """Values of `BuiltinOperator`."""

    ADD = 0
    AVERAGE_POOL_2D = 1
    CONCATENATION = 2
    CONV_2D = 3
    DEPTHWISE_CONV_2D = 4
    DEPTH_TO_SPACE = 5
    DEQUANTIZE = 6
    EMBEDDING_LOOKUP = 7
    FLOOR = 8
    FULLY_CONNECTED = 9
    HASHTABLE_LOOKUP = 10
    L2_NORMALIZATION = 11
    L2_POOL_2D = 12
    LOCAL_RESPONSE_NORMALIZATION = 13
    LOGISTIC = 14
    LSH_PROJECTION = 15
    LSTM = 16
    MAX_POOL_2D = 17
    MUL = 18
    RELU = 19
    RELU_N1_TO_1 = 20
    RELU6 = 21
    RESHAPE = 22
    RESIZE_BILINEAR = 23
    RNN = 24
    SOFTMAX = 25
    SPACE_TO_DEPTH = 26
    SVDF = 27
    TANH = 28
    CONCAT_EMBEDDINGS = 29
    SKIP_GRAM = 30
    CALL = 31
    CUSTOM = 32
    EMBEDDING_LOOKUP_SPARSE = 33
    PAD = 34
    UNIDIRECTIONAL_SEQUENCE_RNN = 35
    GATHER = 36
    BATCH_TO_SPACE_ND = 37
    SPACE_TO_BATCH_ND = 38
    TRANSPOSE = 39
    MEAN = 40
    SUB = 41
    DIV = 42
    SQUEEZE = 43
    UNIDIRECTIONAL_SEQUENCE_LSTM = 44
    STRIDED_SLICE = 45
    BIDIRECTIONAL_SEQUENCE_RNN = 46
    EXP = 47
    TOPK_V2 = 48
    SPLIT = 49
    LOG_SOFTMAX = 50
    DELEGATE = 51
    BIDIRECTIONAL_SEQUENCE_LSTM = 52
    CAST = 53
    PRELU = 54
    MAXIMUM = 55
    ARG_MAX = 56
    MINIMUM = 57
    LESS = 58
    NEG = 59
    PADV2 = 60
    GREATER = 61
    GREATER_EQUAL = 62
    LESS_EQUAL = 63
    SELECT = 64
    SLICE = 65
    SIN = 66
    TRANSPOSE_CONV = 67
    SPARSE_TO_DENSE = 68
    TILE = 69
    EXPAND_DIMS = 70
    EQUAL = 71
    NOT_EQUAL = 72
    LOG = 73
    SUM = 74
    SQRT = 75
    RSQRT = 76
    SHAPE = 77
    POW = 78
    ARG_MIN = 79
    FAKE_QUANT = 80
    REDUCE_PROD = 81
    REDUCE_MAX = 82
    PACK = 83
    LOGICAL_OR = 84
    ONE_HOT = 85
    LOGICAL_AND = 86
    LOGICAL_NOT = 87
    UNPACK = 88
    REDUCE_MIN = 89
    FLOOR_DIV = 90
    REDUCE_ANY = 91
    SQUARE = 92
    ZEROS_LIKE = 93
    FILL = 94
    FLOOR_MOD = 95
    RANGE = 96
    RESIZE_NEAREST_NEIGHBOR = 97
    LEAKY_RELU = 98
    SQUARED_DIFFERENCE = 99
    MIRROR_PAD = 100
    ABS = 101
    SPLIT_V = 102
    UNIQUE = 103
    CEIL = 104
    REVERSE_V2 = 105
    ADD_N = 106
    GATHER_ND = 107
    COS = 108
    WHERE = 109
    RANK = 110
    ELU = 111
    REVERSE_SEQUENCE = 112
    MATRIX_DIAG = 113
    QUANTIZE = 114
    MATRIX_SET_DIAG = 115
    ROUND = 116
    HARD_SWISH = 117
    IF = 118
    WHILE = 119
    NON_MAX_SUPPRESSION_V4 = 120
    NON_MAX_SUPPRESSION_V5 = 121
    SCATTER_ND = 122
    SELECT_V2 = 123
    DENSIFY = 124
    SEGMENT_SUM = 125
    BATCH_MATMUL = 126
    PLACEHOLDER_FOR_GREATER_OP_CODES = 127
    CUMSUM = 128
    CALL_ONCE = 129
    BROADCAST_TO = 130
    RFFT2D = 131
    CONV_3D = 132
    IMAG = 133
    REAL = 134
    COMPLEX_ABS = 135
    HASHTABLE = 136
    HASHTABLE_FIND = 137
    HASHTABLE_IMPORT = 138
    HASHTABLE_SIZE = 139
    REDUCE_ALL = 140
    CONV_3D_TRANSPOSE = 141
    VAR_HANDLE = 142
    READ_VARIABLE = 143
    ASSIGN_VARIABLE = 144
    BROADCAST_ARGS = 145
    RANDOM_STANDARD_NORMAL = 146
    BUCKETIZE = 147
    RANDOM_UNIFORM = 148
    MULTINOMIAL = 149
    GELU = 150
    DYNAMIC_UPDATE_SLICE = 151
    RELU_0_TO_1 = 152
    UNSORTED_SEGMENT_PROD = 153
    UNSORTED_SEGMENT_MAX = 154
    UNSORTED_SEGMENT_SUM = 155
    ATAN2 = 156
    UNSORTED_SEGMENT_MIN = 157
    SIGN = 158
    BITCAST = 159
    BITWISE_XOR = 160
    RIGHT_SHIFT = 161
    STABLEHLO_LOGISTIC = 162
    STABLEHLO_ADD = 163
    STABLEHLO_DIVIDE = 164
    STABLEHLO_MULTIPLY = 165
    STABLEHLO_MAXIMUM = 166
    STABLEHLO_RESHAPE = 167
    STABLEHLO_CLAMP = 168
    STABLEHLO_CONCATENATE = 169
    STABLEHLO_BROADCAST_IN_DIM = 170
    STABLEHLO_CONVOLUTION = 171
    STABLEHLO_SLICE = 172
    STABLEHLO_CUSTOM_CALL = 173
    STABLEHLO_REDUCE = 174
    STABLEHLO_ABS = 175
    STABLEHLO_AND = 176
    STABLEHLO_COSINE = 177
    STABLEHLO_EXPONENTIAL = 178
    STABLEHLO_FLOOR = 179
    STABLEHLO_LOG = 180
    STABLEHLO_MINIMUM = 181
    STABLEHLO_NEGATE = 182
    STABLEHLO_OR = 183
    STABLEHLO_POWER = 184
    STABLEHLO_REMAINDER = 185
    STABLEHLO_RSQRT = 186
    STABLEHLO_SELECT = 187
    STABLEHLO_SUBTRACT = 188
    STABLEHLO_TANH = 189
    STABLEHLO_SCATTER = 190
    STABLEHLO_COMPARE = 191
    STABLEHLO_CONVERT = 192
    STABLEHLO_DYNAMIC_SLICE = 193
    STABLEHLO_DYNAMIC_UPDATE_SLICE = 194
    STABLEHLO_PAD = 195
    STABLEHLO_IOTA = 196
    STABLEHLO_DOT_GENERAL = 197
    STABLEHLO_REDUCE_WINDOW = 198
    STABLEHLO_SORT = 199
    STABLEHLO_WHILE = 200
    STABLEHLO_GATHER = 201
    STABLEHLO_TRANSPOSE = 202
    DILATE = 203
    STABLEHLO_RNG_BIT_GENERATOR = 204
    REDUCE_WINDOW = 205
    STABLEHLO_COMPOSITE = 206
    STABLEHLO_SHIFT_LEFT = 207
    STABLEHLO_CBRT = 208
    STABLEHLO_CASE = 209


class BuiltinOptions(IntEnum):
    """Values of `BuiltinOptions`."""

    NONE = 0
    Conv2DOptions = 1
    DepthwiseConv2DOptions = 2
    ConcatEmbeddingsOptions = 3
    LSHProjectionOptions = 4
    Pool2DOptions = 5
    SVDFOptions = 6
    RNNOptions = 7
    FullyConnectedOptions = 8
    SoftmaxOptions = 9
    ConcatenationOptions = 10
    AddOptions = 11
    L2NormOptions = 12
    LocalResponseNormalizationOptions = 13
    LSTMOptions = 14
    ResizeBilinearOptions = 15
    CallOptions = 16
    ReshapeOptions = 17
    SkipGramOptions = 18
    SpaceToDepthOptions = 19
    EmbeddingLookupSparseOptions = 20
    MulOptions = 21
    PadOptions = 22
    GatherOptions = 23
    BatchToSpaceNDOptions = 24
    SpaceToBatchNDOptions = 25
    TransposeOptions = 26
    ReducerOptions = 27
    SubOptions = 28
    DivOptions = 29
    SqueezeOptions = 30
    SequenceRNNOptions = 31
    StridedSliceOptions = 32
    ExpOptions = 33
    TopKV2Options = 34
    SplitOptions = 35
    LogSoftmaxOptions = 36
    CastOptions = 37
    DequantizeOptions = 38
    MaximumMinimumOptions = 39
    ArgMaxOptions = 40
    LessOptions = 41
    NegOptions = 42
    PadV2Options = 43
    GreaterOptions = 44
    GreaterEqualOptions = 45
    LessEqualOptions = 46
    SelectOptions = 47
    SliceOptions = 48
    TransposeConvOptions = 49
    SparseToDenseOptions = 50
    TileOptions = 51
    ExpandDimsOptions = 52
    EqualOptions = 53
    NotEqualOptions = 54
    ShapeOptions = 55
    PowOptions = 56
    ArgMinOptions = 57
    FakeQuantOptions = 58
    PackOptions = 59
    LogicalOrOptions = 60
    OneHotOptions = 61
    LogicalAndOptions = 62
    LogicalNotOptions = 63
    UnpackOptions = 64
    FloorDivOptions = 65
    SquareOptions = 66
    ZerosLikeOptions = 67
    FillOptions = 68
    BidirectionalSequenceLSTMOptions = 69
    BidirectionalSequenceRNNOptions = 70
    UnidirectionalSequenceLSTMOptions = 71
    FloorModOptions = 72
    RangeOptions = 73
    ResizeNearestNeighborOptions = 74
    LeakyReluOptions = 75
    SquaredDifferenceOptions = 76
    MirrorPadOptions = 77
    AbsOptions = 78
    SplitVOptions = 79
    UniqueOptions = 80
    ReverseV2Options = 81
    AddNOptions = 82
    GatherNdOptions = 83
    CosOptions = 84
    WhereOptions = 85
    RankOptions = 86
    ReverseSequenceOptions = 87
    MatrixDiagOptions = 88
    QuantizeOptions = 89
    MatrixSetDiagOptions = 90
    HardSwishOptions = 91
    IfOptions = 92
    WhileOptions = 93
    DepthToSpaceOptions = 94
    NonMaxSuppressionV4Options = 95
    NonMaxSuppressionV5Options = 96
    ScatterNdOptions = 97
    SelectV2Options = 98
    DensifyOptions = 99
    SegmentSumOptions = 100
    BatchMatMulOptions = 101
    CumsumOptions = 102
    CallOnceOptions = 103
    BroadcastToOptions = 104
    Rfft2dOptions = 105
    Conv3DOptions = 106
    HashtableOptions = 107
    HashtableFindOptions = 108
    HashtableImportOptions = 109
    HashtableSizeOptions = 110
    VarHandleOptions = 111
    ReadVariableOptions = 112
    AssignVariableOptions = 113
    RandomOptions = 114
    BucketizeOptions = 115
    GeluOptions = 116
    DynamicUpdateSliceOptions = 117
    UnsortedSegmentProdOptions = 118
    UnsortedSegmentMaxOptions = 119
    UnsortedSegmentMinOptions = 120
    UnsortedSegmentSumOptions = 121
    ATan2Options = 122
    SignOptions = 123
    BitcastOptions = 124
    BitwiseXorOptions = 125
    RightShiftOptions = 126


class BuiltinOptions2(IntEnum):
    """Values of `BuiltinOptions2`."""

    NONE = 0
    StablehloConcatenateOptions = 1
    StablehloBroadcastInDimOptions = 2
    StablehloSliceOptions = 3
    StablehloConvolutionOptions = 4
    StablehloCustomCallOptions = 5
    StablehloReduceOptions = 6
    StablehloScatterOptions = 7
    StablehloCompareOptions = 8
    StablehloDynamicSliceOptions = 9
    StablehloPadOptions = 10
    StablehloIotaOptions = 11
    StablehloDotGeneralOptions = 12
    StablehloReduceWindowOptions = 13
    StablehloSortOptions = 14
    StablehloWhileOptions = 15
    StablehloGatherOptions = 16
    StablehloTransposeOptions = 17
    DilateOptions = 18
    StablehloRngBitGeneratorOptions = 19
    ReduceWindowOptions = 20
    StableHLOCompositeOptions = 21
    StablehloShiftLeftOptions = 22
    StablehloCaseOptions = 23


class StablehloPrecisionConfig(IntEnum):
    """Values of `StablehloPrecisionConfig`."""

    DEFAULT = 0
    HIGH = 1
    HIGHEST = 2


class StablehloComparisonDirection(IntEnum):
    """Values of `StablehloComparisonDirection`."""

    STABLEHLO_COMPARISON_DIRECTION_EQ = 0
    STABLEHLO_COMPARISON_DIRECTION_NE = 1
    STABLEHLO_COMPARISON_DIRECTION_GE = 2
    STABLEHLO_COMPARISON_DIRECTION_GT = 3
    STABLEHLO_COMPARISON_DIRECTION_LE = 4
    STABLEHLO_COMPARISON_DIRECTION_LT = 5


class StablehloComparisonType(IntEnum):
    """Values of `StablehloComparisonType`."""

    STABLEHLO_COMPARISON_TYPE_NOTYPE = 0
    STABLEHLO_COMPARISON_TYPE_FLOAT = 1
    STABLEHLO_COMPARISON_TYPE_FLOAT_TOTAL_ORDER = 2
    STABLEHLO_COMPARISON_TYPE_SIGNED = 3
    STABLEHLO_COMPARISON_TYPE_UNSIGNED = 4


class RngAlgorithm(IntEnum):
    """Values of `RngAlgorithm`."""

    DEFAULT = 0
    PHILOX = 1
    THREEFRY = 2


class Padding(IntEnum):
    """Values of `Padding`."""

    SAME = 0
    VALID = 1


class ActivationFunctionType(IntEnum):
    """Values of `ActivationFunctionType`."""

    NONE = 0
    RELU = 1
    RELU_N1_TO_1 = 2
    RELU6 = 3
    TANH = 4
    SIGN_BIT = 5


class LSHProjectionType(IntEnum):
    """Values of `LSHProjectionType`."""

    UNKNOWN = 0
    SPARSE = 1
    DENSE = 2


class FullyConnectedOptionsWeightsFormat(IntEnum):
    """Values of `FullyConnectedOptionsWeightsFormat`."""

    DEFAULT = 0
    SHUFFLED4x16INT8 = 1


class LSTMKernelType(IntEnum):
    """Values of `LSTMKernelType`."""

    FULL = 0
    BASIC = 1


class CombinerType(IntEnum):
    """Values of `CombinerType`."""

    SUM = 0
    MEAN = 1
    SQRTN = 2


class MirrorPadMode(IntEnum):
    """Values of `MirrorPadMode`."""

    REFLECT = 0
    SYMMETRIC = 1


class ReduceWindowFunction(IntEnum):
    """Values of `ReduceWindowFunction`."""

    UNSUPPORTED = 0
    ADD = 1
    MUL = 2
    MINIMUM = 3
    MAXIMUM = 4
    ALL = 5
    ANY = 6


class CustomOptionsFormat(IntEnum):
    """Values of `CustomOptionsFormat`."""

    FLEXBUFFERS = 0


Field = tuple[int, str, str, int | float | bool | None]

TABLES: dict[str, tuple[Field, ...]] = {
    "CustomQuantization": (
        (0, "custom", "[u8]", None),
    ),
    "BlockwiseQuantization": (
        (0, "scales", "i32", 0),
        (1, "zero_points", "i32", 0),
        (2, "block_size", "i32", 0),
        (3, "block_shape", "[i32]", None),
    ),
    "MultiAxisQuantization": (
        (0, "scales", "i32", 0),
        (1, "zero_points", "i32", 0),
        (2, "block_size", "i32", 0),
        (3, "quantized_dimensions", "[i32]", None),
    ),
    "QuantizationParameters": (
        (0, "min", "[f32]", None),
        (1, "max", "[f32]", None),
        (2, "scale", "[f32]", None),
        (3, "zero_point", "[i64]", None),
        (4, "details_type", "u8", 0),
        (5, "details", "QuantizationDetails?", None),
        (6, "quantized_dimension", "i32", 0),
    ),
    "Int32Vector": (
        (0, "values", "[i32]", None),
    ),
    "Uint16Vector": (
        (0, "values", "[u16]", None),
    ),
    "Uint8Vector": (
        (0, "values", "[u8]", None),
    ),
    "DimensionMetadata": (
        (0, "format", "i8", 0),
        (1, "dense_size", "i32", 0),
        (2, "array_segments_type", "u8", 0),
        (3, "array_segments", "SparseIndexVector?", None),
        (4, "array_indices_type", "u8", 0),
        (5, "array_indices", "SparseIndexVector?", None),
    ),
    "SparsityParameters": (
        (0, "traversal_order", "[i32]", None),
        (1, "block_map", "[i32]", None),
        (2, "dim_metadata", "[DimensionMetadata]", None),
    ),
    "VariantSubType": (
        (0, "shape", "[i32]", None),
        (1, "type", "i8", 0),
        (2, "has_rank", "bool", False),
    ),
    "Tensor": (
        (0, "shape", "[i32]", None),
        (1, "type", "i8", 0),
        (2, "buffer", "u32", 0),
        (3, "name", "str", None),
        (4, "quantization", "QuantizationParameters", None),
        (5, "is_variable", "bool", False),
        (6, "sparsity", "SparsityParameters", None),
        (7, "shape_signature", "[i32]", None),
        (8, "has_rank", "bool", False),
        (9, "variant_tensors", "[VariantSubType]", None),
        (10, "external_buffer", "u32", 0),
    ),
    "StablehloGatherOptions": (
        (0, "offset_dims", "[i64]", None),
        (1, "collapsed_slice_dims", "[i64]", None),
        (2, "start_index_map", "[i64]", None),
        (3, "index_vector_dim", "i64", 0),
        (4, "slice_sizes", "[i64]", None),
        (5, "indices_are_sorted", "bool", False),
    ),
    "StablehloTransposeOptions": (
        (0, "permutation", "[i64]", None),
    ),
    "StablehloDotGeneralOptions": (
        (0, "lhs_batching_dimensions", "[i64]", None),
        (1, "rhs_batching_dimensions", "[i64]", None),
        (2, "lhs_contracting_dimensions", "[i64]", None),
        (3, "rhs_contracting_dimensions", "[i64]", None),
        (4, "precision_config", "[u32]", None),
    ),
    "StablehloReduceWindowOptions": (
        (0, "window_dimensions", "[i64]", None),
        (1, "window_strides", "[i64]", None),
        (2, "base_dilations", "[i64]", None),
        (3, "window_dilations", "[i64]", None),
        (4, "padding", "[i64]", None),
        (5, "body_subgraph_index", "i32", 0),
    ),
    "StablehloWhileOptions": (
        (0, "cond_subgraph_index", "i32", 0),
        (1, "body_subgraph_index", "i32", 0),
    ),
    "StablehloSortOptions": (
        (0, "dimension", "i64", 0),
        (1, "is_stable", "bool", False),
        (2, "comparator_subgraph_index", "i32", 0),
    ),
    "StablehloConcatenateOptions": (
        (0, "dimension", "i64", 0),
    ),
    "StablehloBroadcastInDimOptions": (
        (0, "broadcast_dimensions", "[i64]", None),
    ),
    "StablehloCompareOptions": (
        (0, "comparison_direction", "u32", 0),
        (1, "compare_type", "u32", 0),
    ),
    "StablehloDynamicSliceOptions": (
        (0, "slice_sizes", "[i64]", None),
    ),
    "StablehloPadOptions": (
        (0, "edge_padding_low", "[i64]", None),
        (1, "edge_padding_high", "[i64]", None),
        (2, "interior_padding", "[i64]", None),
    ),
    "StablehloIotaOptions": (
        (0, "iota_dimension", "i64", 0),
    ),
    "StablehloCustomCallOptions": (
        (0, "call_target_name", "str", None),
        (1, "has_side_effect", "bool", False),
        (2, "backend_config", "str", None),
        (3, "api_version", "i32", 0),
        (4, "called_computations", "[i32]", None),
        (5, "custom_attributes", "[u8]", None),
    ),
    "StablehloReduceOptions": (
        (0, "dimensions", "[i64]", None),
        (1, "body_subgraph_index", "i32", 0),
    ),
    "StablehloSliceOptions": (
        (0, "start_indices", "[i64]", None),
        (1, "limit_indices", "[i64]", None),
        (2, "strides", "[i64]", None),
    ),
    "StablehloConvolutionOptions": (
        (0, "window_strides", "[i64]", None),
        (1, "padding", "[i64]", None),
        (2, "lhs_dilation", "[i64]", None),
        (3, "rhs_dilation", "[i64]", None),
        (4, "window_reversal", "[bool]", None),
        (5, "input_batch_dimension", "i64", 0),
        (6, "input_feature_dimension", "i64", 0),
        (7, "input_spatial_dimensions", "[i64]", None),
        (8, "kernel_input_feature_dimension", "i64", 0),
        (9, "kernel_output_feature_dimension", "i64", 0),
        (10, "kernel_spatial_dimensions", "[i64]", None),
        (11, "output_batch_dimension", "i64", 0),
        (12, "output_feature_dimension", "i64", 0),
        (13, "output_spatial_dimensions", "[i64]", None),
        (14, "feature_group_count", "i64", 0),
        (15, "batch_group_count", "i64", 0),
        (16, "precision_config", "[u32]", None),
    ),
    "StablehloScatterOptions": (
        (0, "indices_are_sorted", "bool", False),
        (1, "update_window_dims", "[i64]", None),
        (2, "inserted_window_dims", "[i64]", None),
        (3, "scatter_dims_to_operand_dims", "[i64]", None),
        (4, "index_vector_dim", "i64", 0),
        (5, "unique_indices", "bool", False),
        (6, "update_computation_subgraph_index", "i32", 0),
    ),
    "StablehloCaseOptions": (
        (0, "branch_subgraph_indices", "[i32]", None),
    ),
    "StablehloRngBitGeneratorOptions": (
        (0, "algorithm", "i8", 0),
    ),
    "Conv2DOptions": (
        (0, "padding", "i8", 0),
        (1, "stride_w", "i32", 0),
        (2, "stride_h", "i32", 0),
        (3, "fused_activation_function", "i8", 0),
        (4, "dilation_w_factor", "i32", 1),
        (5, "dilation_h_factor", "i32", 1),
        (6, "quantized_bias_type", "i8", 0),
    ),
    "Conv3DOptions": (
        (0, "padding", "i8", 0),
        (1, "stride_d", "i32", 0),
        (2, "stride_w", "i32", 0),
        (3, "stride_h", "i32", 0),
        (4, "fused_activation_function", "i8", 0),
        (5, "dilation_d_factor", "i32", 1),
        (6, "dilation_w_factor", "i32", 1),
        (7, "dilation_h_factor", "i32", 1),
    ),
    "Pool2DOptions": (
        (0, "padding", "i8", 0),
        (1, "stride_w", "i32", 0),
        (2, "stride_h", "i32", 0),
        (3, "filter_width", "i32", 0),
        (4, "filter_height", "i32", 0),
        (5, "fused_activation_function", "i8", 0),
    ),
    "DepthwiseConv2DOptions": (
        (0, "padding", "i8", 0),
        (1, "stride_w", "i32", 0),
        (2, "stride_h", "i32", 0),
        (3, "depth_multiplier", "i32", 0),
        (4, "fused_activation_function", "i8", 0),
        (5, "dilation_w_factor", "i32", 1),
        (6, "dilation_h_factor", "i32", 1),
    ),
    "ConcatEmbeddingsOptions": (
        (0, "num_channels", "i32", 0),
        (1, "num_columns_per_channel", "[i32]", None),
        (2, "embedding_dim_per_channel", "[i32]", None),
    ),
    "LSHProjectionOptions": (
        (0, "type", "i8", 0),
    ),
    "SVDFOptions": (
        (0, "rank", "i32", 0),
        (1, "fused_activation_function", "i8", 0),
        (2, "asymmetric_quantize_inputs", "bool", False),
    ),
    "RNNOptions": (
        (0, "fused_activation_function", "i8", 0),
        (1, "asymmetric_quantize_inputs", "bool", False),
    ),
    "SequenceRNNOptions": (
        (0, "time_major", "bool", False),
        (1, "fused_activation_function", "i8", 0),
        (2, "asymmetric_quantize_inputs", "bool", False),
    ),
    "BidirectionalSequenceRNNOptions": (
        (0, "time_major", "bool", False),
        (1, "fused_activation_function", "i8", 0),
        (2, "merge_outputs", "bool", False),
        (3, "asymmetric_quantize_inputs", "bool", False),
    ),
    "FullyConnectedOptions": (
        (0, "fused_activation_function", "i8", 0),
        (1, "weights_format", "i8", 0),
        (2, "keep_num_dims", "bool", False),
        (3, "asymmetric_quantize_inputs", "bool", False),
        (4, "quantized_bias_type", "i8", 0),
        (5, "quant_spec", "[u8]", None),
    ),
    "SoftmaxOptions": (
        (0, "beta", "f32", 0.0),
    ),
    "ConcatenationOptions": (
        (0, "axis", "i32", 0),
        (1, "fused_activation_function", "i8", 0),
    ),
    "AddOptions": (
        (0, "fused_activation_function", "i8", 0),
        (1, "pot_scale_int16", "bool", True),
    ),
    "MulOptions": (
        (0, "fused_activation_function", "i8", 0),
    ),
    "L2NormOptions": (
        (0, "fused_activation_function", "i8", 0),
    ),
    "LocalResponseNormalizationOptions": (
        (0, "radius", "i32", 0),
        (1, "bias", "f32", 0.0),
        (2, "alpha", "f32", 0.0),
        (3, "beta", "f32", 0.0),
    ),
    "LSTMOptions": (
        (0, "fused_activation_function", "i8", 0),
        (1, "cell_clip", "f32", 0.0),
        (2, "proj_clip", "f32", 0.0),
        (3, "kernel_type", "i8", 0),
        (4, "asymmetric_quantize_inputs", "bool", False),
    ),
    "UnidirectionalSequenceLSTMOptions": (
        (0, "fused_activation_function", "i8", 0),
        (1, "cell_clip", "f32", 0.0),
        (2, "proj_clip", "f32", 0.0),
        (3, "time_major", "bool", False),
        (4, "asymmetric_quantize_inputs", "bool", False),
        (5, "diagonal_recurrent_tensors", "bool", False),
    ),
    "BidirectionalSequenceLSTMOptions": (
        (0, "fused_activation_function", "i8", 0),
        (1, "cell_clip", "f32", 0.0),
        (2, "proj_clip", "f32", 0.0),
        (3, "merge_outputs", "bool", False),
        (4, "time_major", "bool", True),
        (5, "asymmetric_quantize_inputs", "bool", False),
    ),
    "ResizeBilinearOptions": (
        (2, "align_corners", "bool", False),
        (3, "half_pixel_centers", "bool", False),
    ),
    "ResizeNearestNeighborOptions": (
        (0, "align_corners", "bool", False),
        (1, "half_pixel_centers", "bool", False),
    ),
    "CallOptions": (
        (0, "subgraph", "u32", 0),
    ),
    "PadOptions": (),
    "PadV2Options": (),
    "ReshapeOptions": (
        (0, "new_shape", "[i32]", None),
    ),
    "SpaceToBatchNDOptions": (),
    "BatchToSpaceNDOptions": (),
    "SkipGramOptions": (
        (0, "ngram_size", "i32", 0),
        (1, "max_skip_size", "i32", 0),
        (2, "include_all_ngrams", "bool", False),
    ),
    "SpaceToDepthOptions": (
        (0, "block_size", "i32", 0),
    ),
    "DepthToSpaceOptions": (
        (0, "block_size", "i32", 0),
    ),
    "SubOptions": (
        (0, "fused_activation_function", "i8", 0),
        (1, "pot_scale_int16", "bool", True),
    ),
    "DivOptions": (
        (0, "fused_activation_function", "i8", 0),
    ),
    "TopKV2Options": (),
    "EmbeddingLookupSparseOptions": (
        (0, "combiner", "i8", 0),
    ),
    "GatherOptions": (
        (0, "axis", "i32", 0),
        (1, "batch_dims", "i32", 0),
    ),
    "TransposeOptions": (),
    "ExpOptions": (),
    "CosOptions": (),
    "ReducerOptions": (
        (0, "keep_dims", "bool", False),
    ),
    "SqueezeOptions": (
        (0, "squeeze_dims", "[i32]", None),
    ),
    "SplitOptions": (
        (0, "num_splits", "i32", 0),
    ),
    "SplitVOptions": (
        (0, "num_splits", "i32", 0),
    ),
    "StridedSliceOptions": (
        (0, "begin_mask", "i32", 0),
        (1, "end_mask", "i32", 0),
        (2, "ellipsis_mask", "i32", 0),
        (3, "new_axis_mask", "i32", 0),
        (4, "shrink_axis_mask", "i32", 0),
        (5, "offset", "bool", False),
    ),
    "LogSoftmaxOptions": (),
    "CastOptions": (
        (0, "in_data_type", "i8", 0),
        (1, "out_data_type", "i8", 0),
    ),
    "DequantizeOptions": (),
    "MaximumMinimumOptions": (),
    "TileOptions": (),
    "ArgMaxOptions": (
        (0, "output_type", "i8", 0),
    ),
    "ArgMinOptions": (
        (0, "output_type", "i8", 0),
    ),
    "GreaterOptions": (),
    "GreaterEqualOptions": (),
    "LessOptions": (),
    "LessEqualOptions": (),
    "NegOptions": (),
    "SelectOptions": (),
    "SliceOptions": (),
    "TransposeConvOptions": (
        (0, "padding", "i8", 0),
        (1, "stride_w", "i32", 0),
        (2, "stride_h", "i32", 0),
        (3, "fused_activation_function", "i8", 0),
        (4, "quantized_bias_type", "i8", 0),
    ),
    "ExpandDimsOptions": (),
    "SparseToDenseOptions": (
        (0, "validate_indices", "bool", False),
    ),
    "EqualOptions": (),
    "NotEqualOptions": (),
    "ShapeOptions": (
        (0, "out_type", "i8", 0),
    ),
    "RankOptions": (),
    "PowOptions": (),
    "FakeQuantOptions": (
        (0, "min", "f32", 0.0),
        (1, "max", "f32", 0.0),
        (2, "num_bits", "i32", 0),
        (3, "narrow_range", "bool", False),
    ),
    "PackOptions": (
        (0, "values_count", "i32", 0),
        (1, "axis", "i32", 0),
    ),
    "LogicalOrOptions": (),
    "OneHotOptions": (
        (0, "axis", "i32", 0),
    ),
    "AbsOptions": (),
    "HardSwishOptions": (),
    "LogicalAndOptions": (),
    "LogicalNotOptions": (),
    "UnpackOptions": (
        (0, "num", "i32", 0),
        (1, "axis", "i32", 0),
    ),
    "FloorDivOptions": (),
    "SquareOptions": (),
    "ZerosLikeOptions": (),
    "FillOptions": (),
    "FloorModOptions": (),
    "RangeOptions": (),
    "LeakyReluOptions": (
        (0, "alpha", "f32", 0.0),
    ),
    "SquaredDifferenceOptions": (),
    "MirrorPadOptions": (
        (0, "mode", "i8", 0),
    ),
    "UniqueOptions": (
        (0, "idx_out_type", "i8", 2),
    ),
    "ReverseV2Options": (),
    "AddNOptions": (),
    "GatherNdOptions": (),
    "WhereOptions": (),
    "ReverseSequenceOptions": (
        (0, "seq_dim", "i32", 0),
        (1, "batch_dim", "i32", 0),
    ),
    "MatrixDiagOptions": (),
    "QuantizeOptions": (),
    "MatrixSetDiagOptions": (),
    "IfOptions": (
        (0, "then_subgraph_index", "i32", 0),
        (1, "else_subgraph_index", "i32", 0),
    ),
    "CallOnceOptions": (
        (0, "init_subgraph_index", "i32", 0),
    ),
    "WhileOptions": (
        (0, "cond_subgraph_index", "i32", 0),
        (1, "body_subgraph_index", "i32", 0),
    ),
    "NonMaxSuppressionV4Options": (),
    "NonMaxSuppressionV5Options": (),
    "ScatterNdOptions": (),
    "SelectV2Options": (),
    "DensifyOptions": (),
    "SegmentSumOptions": (),
    "BatchMatMulOptions": (
        (0, "adj_x", "bool", False),
        (1, "adj_y", "bool", False),
        (2, "asymmetric_quantize_inputs", "bool", False),
    ),
    "CumsumOptions": (
        (0, "exclusive", "bool", False),
        (1, "reverse", "bool", False),
    ),
    "BroadcastToOptions": (),
    "Rfft2dOptions": (),
    "HashtableOptions": (
        (0, "table_id", "i32", 0),
        (1, "key_dtype", "i8", 0),
        (2, "value_dtype", "i8", 0),
    ),
    "HashtableFindOptions": (),
    "HashtableImportOptions": (),
    "HashtableSizeOptions": (),
    "VarHandleOptions": (
        (0, "container", "str", None),
        (1, "shared_name", "str", None),
    ),
    "ReadVariableOptions": (),
    "AssignVariableOptions": (),
    "RandomOptions": (
        (0, "seed", "i64", 0),
        (1, "seed2", "i64", 0),
    ),
    "BucketizeOptions": (
        (0, "boundaries", "[f32]", None),
    ),
    "GeluOptions": (
        (0, "approximate", "bool", False),
    ),
    "DynamicUpdateSliceOptions": (),
    "UnsortedSegmentProdOptions": (),
    "UnsortedSegmentMaxOptions": (),
    "UnsortedSegmentSumOptions": (),
    "ATan2Options": (),
    "UnsortedSegmentMinOptions": (),
    "SignOptions": (),
    "BitcastOptions": (),
    "BitwiseXorOptions": (),
    "RightShiftOptions": (),
    "DilateOptions": (),
    "ReduceWindowOptions": (
        (0, "reduce_function", "i32", 0),
    ),
    "OperatorCode": (
        (0, "deprecated_builtin_code", "i8", 0),
        (1, "custom_code", "str", None),
        (2, "version", "i32", 1),
        (3, "builtin_code", "i32", 0),
    ),
    "StableHLOCompositeOptions": (
        (0, "name", "str", None),
        (1, "decomposition_subgraph_index", "i32", 0),
        (2, "composite_attributes", "[u8]", None),
        (3, "composite_attributes_format", "i8", 0),
        (4, "version", "i32", 0),
    ),
    "StablehloShiftLeftOptions": (),
    "Operator": (
        (0, "opcode_index", "u32", 0),
        (1, "inputs", "[i32]", None),
        (2, "outputs", "[i32]", None),
        (3, "builtin_options_type", "u8", 0),
        (4, "builtin_options", "BuiltinOptions?", None),
        (5, "custom_options", "[u8]", None),
        (6, "custom_options_format", "i8", 0),
        (7, "mutating_variable_inputs", "[bool]", None),
        (8, "intermediates", "[i32]", None),
        (9, "large_custom_options_offset", "u64", 0),
        (10, "large_custom_options_size", "u64", 0),
        (11, "builtin_options2_type", "u8", 0),
        (12, "builtin_options2", "BuiltinOptions2?", None),
        (13, "debug_metadata_index", "i32", -1),
    ),
    "SubGraph": (
        (0, "tensors", "[Tensor]", None),
        (1, "inputs", "[i32]", None),
        (2, "outputs", "[i32]", None),
        (3, "operators", "[Operator]", None),
        (4, "name", "str", None),
        (5, "debug_metadata_index", "i32", -1),
    ),
    "Buffer": (
        (0, "data", "[u8]", None),
        (1, "offset", "u64", 0),
        (2, "size", "u64", 0),
    ),
    "ExternalBufferGroup": (
        (0, "name", "str", None),
    ),
    "ExternalBuffer": (
        (0, "id", "u32", 0),
        (1, "group", "u32", 0),
        (2, "offset", "u64", 0),
        (3, "length", "u64", 0),
        (4, "packing", "str", None),
    ),
    "Metadata": (
        (0, "name", "str", None),
        (1, "buffer", "u32", 0),
    ),
    "TensorMap": (
        (0, "name", "str", None),
        (1, "tensor_index", "u32", 0),
    ),
    "SignatureDef": (
        (0, "inputs", "[TensorMap]", None),
        (1, "outputs", "[TensorMap]", None),
        (2, "signature_key", "str", None),
        (4, "subgraph_index", "u32", 0),
    ),
    "Model": (
        (0, "version", "u32", 0),
        (1, "operator_codes", "[OperatorCode]", None),
        (2, "subgraphs", "[SubGraph]", None),
        (3, "description", "str", None),
        (4, "buffers", "[Buffer]", None),
        (5, "metadata_buffer", "[i32]", None),
        (6, "metadata", "[Metadata]", None),
        (7, "signature_defs", "[SignatureDef]", None),
        (8, "external_buffer_groups", "[ExternalBufferGroup]", None),
        (9, "external_buffers", "[ExternalBuffer]", None),
    ),
}

UNIONS: dict[str, type[IntEnum]] = {
    "BuiltinOptions": BuiltinOptions,
    "BuiltinOptions2": BuiltinOptions2,
    "QuantizationDetails": QuantizationDetails,
    "SparseIndexVector": SparseIndexVector,
}
