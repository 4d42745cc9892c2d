"""Class names of Keras that both the readers and the evaluators go by."""

from __future__ import annotations

OPERATIONS = (
    "Add", "Subtract", "Multiply", "Divide", "TrueDivide", "FloorDivide", "Power", "Maximum", "Minimum", "Negative",
    "Absolute", "Abs", "Exp", "Log", "Sqrt", "Rsqrt", "Square", "Sin", "Cos", "Tan", "Tanh", "Sinh", "Cosh", "Arctan",
    "Floor", "Ceil", "Round", "Sign", "Erf", "Reciprocal", "Sigmoid", "Relu", "Relu6", "Silu", "Gelu", "Softmax",
    "LogSoftmax", "Softplus", "Softsign", "Elu", "Selu", "Celu", "Glu", "LeakyRelu", "HardSigmoid", "HardSilu", "HardTanh",
    "HardShrink", "SoftShrink", "TanhShrink", "LogSigmoid", "Squareplus", "SparsePlus", "SparseSigmoid", "Mish", "Mean",
    "Sum", "Max", "Min", "Prod", "Logsumexp", "Var", "Argmax", "Argmin", "Matmul", "Einsum", "Reshape", "Transpose",
    "Swapaxes", "Moveaxis", "ExpandDims", "Squeeze", "Concatenate", "Stack", "Split", "Unstack", "Pad", "Tile", "Repeat",
    "Take", "Flip", "Clip", "Cast", "Where", "Equal", "NotEqual", "Greater", "GreaterEqual", "Less", "LessEqual",
    "LogicalAnd", "LogicalOr", "LogicalNot", "GetItem", "Resize", "ZerosLike", "OnesLike", "StopGradient", "Identity",
    "Any", "All",
)  # fmt: skip
"""Keras 3's operations by class name; the network calls them 'ops.<class>', since layers have the same names."""

TRAINING_ONLY = (
    "Identity", "Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "GaussianDropout",
    "GaussianNoise", "AlphaDropout", "ActivityRegularization", "InputLayer",
    "RandomFlip", "RandomRotation", "RandomZoom", "RandomTranslation", "RandomContrast", "RandomBrightness",
    "RandomHeight", "RandomWidth", "RandomShear", "RandomHue", "RandomSaturation", "RandomErasing", "RandomGrayscale",
    "RandomInvert", "RandomPosterization", "RandomSharpness", "RandomColorJitter", "RandomColorDegeneration",
    "RandomGaussianBlur", "RandomPerspective", "RandomElasticTransform", "MixUp", "CutMix", "AugMix", "RandAugment",
    "StochasticDepth", "FixedDropout",
)  # fmt: skip
"""Layers that do something in training only."""
