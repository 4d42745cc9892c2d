"""The original: transformers itself does the task on the directory, in the type that the weights are stored in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bessemer.ir.errors import RuntimeRefused, UsageError
from bessemer.ir.signature import Signature, TensorSpec
from bessemer.ir.types import Array
from bessemer.sources.huggingface.exporting import example
from bessemer.sources.huggingface.mapped import Mapped
from bessemer.sources.huggingface.tasks.base import Plan


class TransformersRunner:
    """Runs a plan eagerly. Narrow floats come out as float32, which holds them exactly."""

    def __init__(self, plan: Plan, mapped: Mapped) -> None:
        import torch
        import transformers

        self._plan, self._mapped = plan, mapped
        self.runtime = f"transformers {transformers.__version__} (torch {torch.__version__})"
        inputs = tuple(TensorSpec(port.name, port.kind, port.axes) for port in plan.ports)
        answer = self._call(example(plan.ports, plan.sizes))
        outputs = tuple(TensorSpec(name, item.dtype.name, (None,) * item.ndim) for name, item in answer.items())
        self.signature = Signature(inputs, outputs)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name. Raises UsageError for a missing input, RuntimeRefused for sizes the model does not take."""
        import torch

        missing = [port.name for port in self._plan.ports if port.name not in inputs]
        if missing:
            raise UsageError(f"The model needs the input '{missing[0]}'")
        return self._call([torch.from_numpy(np.array(inputs[port.name])) for port in self._plan.ports])

    def tap(self, inputs: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
        """Nothing: what modules answer has no names that a graph shares."""
        return {}

    def _call(self, tensors: Sequence[Any]) -> dict[str, Array]:
        import torch

        kind = self._plan.model.dtype
        fed = {
            port.name: tensor.to(kind) if tensor.is_floating_point() else tensor
            for port, tensor in zip(self._plan.ports, tensors, strict=True)
        }
        try:
            with torch.no_grad():
                answer = self._plan.call(fed)
        except (RuntimeError, ValueError, IndexError, TypeError, AssertionError) as error:
            why = " ".join(str(error).split())[:300]
            raise RuntimeRefused("transformers refuses these inputs", why=why) from None
        finally:
            self._mapped.release()  # beside the artifact's runtime: the weights need not be in memory twice
        return {name: _numpy(tensor) for name, tensor in answer.items()}


def _numpy(tensor: Any) -> Array:
    held = tensor.float() if tensor.is_floating_point() and tensor.element_size() < 4 else tensor
    found: Array = held.detach().contiguous().numpy()
    return found
