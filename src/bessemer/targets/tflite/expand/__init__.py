"""Operators rewritten into other ONNX operators before lowering, where neither a kernel nor a function body exists.

A new one is a function in any module here, decorated with `@expand("OpType", needs=...)`: it writes nodes through
`Nodes` and returns the values that take the place of the node's outputs, or None where it does not apply.
"""
