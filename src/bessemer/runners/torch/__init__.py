"""The canonical graph in torch (extra `train`): ONNX semantics, differentiable where the operators are.

`TorchRunner` executes a model on numpy arrays; `Executor` works on tensors and lets constants be parameters. A new
operator is a function with `@op("Name")` in a module of `ops`; `bessemer conformance --target torch` holds them to the
standard. Only importing a submodule imports torch.
"""
