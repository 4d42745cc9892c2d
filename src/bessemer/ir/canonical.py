"""The one operator set that every canonical graph is written in."""

OPSET = 26
"""Canonical ai.onnx opset: the newest one that the reference runtime, ONNX Runtime 1.31, executes."""

DOMAIN = "bessemer"
"""Domain of the few operators that no ONNX opset has (each target lowers or declines them)."""

LAYER_KEY = "bessemer.layer"
"""Node metadata: names of the original layers, joined by ';'."""

TENSOR_KEY = "bessemer.tensor"
"""In `Value.meta`: (name of the original's tensor, permutation from that tensor to the value)."""

HYBRID_KEY = "bessemer.hybrid"
"""Node metadata, 'symmetric' or 'asymmetric': the original quantizes this node's float activations while it runs."""

STATE_KEY = "bessemer.state"
"""Node metadata: between calls the original keeps the state that this node starts from; the first one is zero.
'kept': a TFLite file can say so again; 'zero': every call starts anew, the layer being written in other operators."""

FUSED_KEY = "bessemer.fused"
"""In `Node.meta`: the source spelled this operator out, so a file may spell it out again at an older opset."""

TRAINED_KEY = "bessemer.trained"
"""In `Value.meta` of a layer's result: the deviation of each channel behind the batch normalisation folded into it."""

RANGE_KEY = "bessemer.range"
"""In `Value.meta` of a graph input: the smallest and largest real value that the file says it is meant for."""

WIDENED_KEY = "bessemer.widened"
"""In `Node.meta` of a Cast: it only returns from a wider type in which the opset has the operator before it; a target
that computes narrow floats in float32 anyway leaves it out.
"""

SIZES_KEY = "bessemer.sizes"
"""In `Value.meta` of a graph input, axis -> two sizes: those of a free axis that the model is verified at."""

HALF_KEY = "bessemer.half_weights"
"""In `Graph.meta` of the main graph, 'FLOAT16' or 'BFLOAT16': the type that the source stores float32 weights as."""

STREAMED_KEY = "bessemer.streamed"
"""In `Graph.meta` of the main graph: its weights are read from the source's files one at a time; many of them are written
beside the graph, so that they are never in memory together."""

COMPUTED_KEY = "bessemer.computed"
"""In `Graph.meta` of the main graph, 'FLOAT16' or 'BFLOAT16': the original computes in it: its last digits are no truth."""
