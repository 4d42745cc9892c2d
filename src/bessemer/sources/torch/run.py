"""The original in torch itself: a program, a script or a module, fed and answered by the names of the Model's borders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bessemer.ir.errors import RuntimeRefused, UsageError
from bessemer.ir.signature import Signature, TensorSpec
from bessemer.ir.types import Array
from bessemer.sources.torch.quiet import quiet


class TorchOriginal:
    """Runs `call`, which takes tensors by name and gives tensors by name, on a module in evaluation mode.

    Every run starts from the saved buffers and one seed: what a call leaves behind does not reach the next one.
    """

    def __init__(
        self,
        module: Any,
        call: Callable[[dict[str, Any]], dict[str, Any]],
        signature: Signature,
        kind: str = "",
        taps: Callable[[dict[str, Any], Sequence[str]], dict[str, Any]] | None = None,
    ) -> None:
        """taps: gives values between the layers, from the inputs, by the names that the exporter's graph has for them."""
        import torch

        self._module, self._call, self._taps = module, call, taps
        self._buffers = {name: (item, item.clone()) for name, item in module.named_buffers() if item is not None}
        self.signature = signature
        self.runtime = f"PyTorch {torch.__version__}{f' ({kind})' if kind else ''}"

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name. Raises UsageError for a missing input, RuntimeRefused for what the module does not take."""
        return self._answered(self._call, inputs)

    def _answered(self, call: Callable[[dict[str, Any]], dict[str, Any]], inputs: Mapping[str, Array]) -> dict[str, Array]:
        import torch

        missing = [spec.name for spec in self.signature.inputs if spec.name not in inputs]
        if missing:
            raise UsageError(f"The model needs the input '{missing[0]}'")
        given = {spec.name: to_torch(inputs[spec.name]) for spec in self.signature.inputs}
        torch.manual_seed(0)
        try:
            with quiet(), torch.no_grad():
                found = call(given)
        except Exception as error:  # noqa: BLE001  # the module's own code, and torch's kernels, raise anything
            lines = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise RuntimeRefused("PyTorch refuses these inputs", why=lines[:400]) from None
        finally:
            self._restore()
        return {name: to_numpy(value) for name, value in found.items()}

    def tap(self, inputs: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
        """Values between the layers by the names of the exporter's graph; unknown ones are absent."""
        if self._taps is None:
            return {}
        taps = self._taps
        return self._answered(lambda given: taps(given, names), inputs)

    def _restore(self) -> None:
        import torch

        with torch.no_grad():
            for held, saved in self._buffers.values():
                held.copy_(saved)


def to_torch(array: Any) -> Any:
    """A tensor of its own, the types that numpy lacks by their bits; a number becomes a tensor without axes."""
    import numpy as np
    import torch

    plain = np.array(array)
    if plain.dtype.kind in "biufc" and hasattr(torch, plain.dtype.name):
        return torch.from_numpy(plain)
    raw = torch.from_numpy(plain.view(f"uint{8 * plain.dtype.itemsize}"))
    return raw.view(getattr(torch, plain.dtype.name))


def to_numpy(value: Any) -> Array:
    """An array of a tensor or a number; quantized ones as the reals that they stand for."""
    import ml_dtypes
    import numpy as np
    import torch

    if not isinstance(value, torch.Tensor):
        return np.asarray(value, np.int64 if isinstance(value, int) and not isinstance(value, bool) else None)
    value = value.detach()
    if value.is_quantized:
        value = value.dequantize()
    value = value.to_dense() if value.layout != torch.strided else value
    name = str(value.dtype).removeprefix("torch.")
    if hasattr(np, name) or name == "bool":
        return np.array(value.resolve_conj().resolve_neg().cpu().numpy())
    kind = np.dtype(getattr(ml_dtypes, name))
    bits = value.contiguous().cpu().view(getattr(torch, f"uint{8 * kind.itemsize}"))
    return np.array(bits.numpy().view(kind))


def dtype_name(value: Any) -> str:
    """numpy's or ml_dtypes' name of a tensor's type; a number's."""
    import torch

    if isinstance(value, torch.Tensor):
        kind = value.dtype if not value.is_quantized else torch.float32
        return str(kind).removeprefix("torch.")
    return "bool" if isinstance(value, bool) else "int64" if isinstance(value, int) else "float32"


def spec_of(name: str, value: Any, shape: Sequence[int | str | None] | None = None) -> TensorSpec:
    """How a tensor looks at the border."""
    held = getattr(value, "shape", ())
    said = tuple(dim if isinstance(dim, int) else str(dim) for dim in held) if shape is None else tuple(shape)
    return TensorSpec(name, dtype_name(value), said)


def tapped(program: Any, leaves: Sequence[Any], names: Sequence[str]) -> dict[str, Any]:
    """Values of a program's graph by the nodes' names, `NAME__0` for the first of several. leaves: all inputs, flattened."""
    import torch

    wanted, found = set(names), dict[str, Any]()

    class Taps(torch.fx.Interpreter):  # type: ignore[misc]  # torch is imported late
        def run_node(self, n: Any) -> Any:
            value = super().run_node(n)
            several = isinstance(value, (tuple, list))
            pairs = [(f"{n.name}__{place}", item) for place, item in enumerate(value)] if several else [(n.name, value)]
            found.update({name: item.clone() for name, item in pairs if name in wanted and isinstance(item, torch.Tensor)})
            return value

    Taps(program.module()).run(*leaves, enable_io_processing=False)
    return {name: found[name] for name in names if name in found}
