"""Lowerings by family; one decorated function per ONNX operator.

How to add an operator
----------------------
In the family's module write

    @lower("Neg")
    def neg(ctx: Context, node: ir.Node) -> None:
        x, y = value(node, 0), node.outputs[0]
        perm = ctx.perm(x)                              # elementwise: pass the axis order along
        ctx.emit("NEG", [ctx.tensor(x, perm)], [ctx.out(y, perm)])

- `ctx.tensor(value, perm)`: tensor index with `value = transpose(T, perm)`; without perm in logical
  (ONNX) order.
  Constants too. `ctx.int32(value)` for indices, shapes and axes. `ctx.const(value)` is the array or None.
- `ctx.out(value, perm)`: the result's tensor. `ctx.temp(type, shape)`: an intermediate.
  `ctx.constant(array)`.
- `ctx.emit("CODE", inputs, outputs, option_field=...)`: fields are those of the operator's options table in
  wire/tflite/schema.py; the table is found by the operator's name.
- `ctx.cast(index, "INT32")`, `ctx.reshape(index, shape)`, `ctx.move(index, perm)`.
- What cannot be done: `raise Blocked(rule, reason, rewrite)` (before emitting). The driver collects all
  of them.
- An encoded (quantized) value needs no thought: inputs come dequantized and the result is quantized
  afterwards.
  An operator with an integer kernel says when that is legal: `@lower("Relu", integer=same_encoding)`; then
  `ctx.integer` is true, `ctx.tensor` gives the quantized tensor and `ctx.out` makes one.
- What TFLite lacks but the ONNX standard defines by a function body needs no lowering: it is decomposed
  before.

- Kernels lack many integer types: `compute_as(ctx, index, "INT32")` and `store(ctx, index, out)` in common.py
  convert around them (CAST wraps like ONNX's two's complement does).

A new family is a new file here; it is found by itself. Who does what now: conv, pool, matmul (Gemm
too), elementwise
(Add..Pow, Max, Min, Sum, Mean), activation (Relu..Softmax, Clip, PRelu, Gelu), normalization, resize,
shaping (Reshape,
Transpose, Concat, Split, Slice, Pad, DepthToSpace, ...), quantize (Quantize/DequantizeLinear) are
taken; every other
operator of the standard is free for a family file of its own.
"""
