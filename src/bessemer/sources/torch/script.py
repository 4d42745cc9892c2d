"""TorchScript archives: looked at before torch loads them, run as they are, and converted through torch.export."""

from __future__ import annotations

import io
import mmap
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bessemer.ir.errors import Blocker, Declined, UnreadableInput
from bessemer.ir.model import Model, Origin
from bessemer.sources.torch.examples import Examples
from bessemer.sources.torch.export import cause, load_torch, name_borders, to_model
from bessemer.sources.torch.quiet import quiet
from bessemer.wire.errors import WireError
from bessemer.wire.torchzip.archive import Archive

if TYPE_CHECKING:
    import onnx_ir

TOUCHES_FILES = re.compile(
    rb"\b(?:from_file|torch\.save|torch\.load|aten\.save|aten\.load|__torch__\.torch\.classes\.(?!quantized\b)\w+)\b"
)
CODE = 1 << 26


def load_script(path: Path) -> Any:
    """The ScriptModule of a file, in evaluation mode. Raises UnreadableInput."""
    torch = load_torch("Reading TorchScript")
    check_script(path)
    try:
        with quiet():
            module = torch.jit.load(str(path), map_location="cpu")
    except Exception as error:  # noqa: BLE001  # torch's loader raises whatever it stumbles over
        raise UnreadableInput(
            f"{path} is a TorchScript file that PyTorch {torch.__version__} cannot load", why=cause(error)
        ) from None
    return module.eval()


def check_script(path: Path) -> None:
    """Raises UnreadableInput for a broken archive, and for code that reads or writes files."""
    try:
        with path.open("rb") as file:
            archive = Archive(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))
        for name, member in archive.members.items():
            if "/code/" not in f"/{name}" or not name.endswith(".py"):
                continue
            if member.size > CODE:
                raise WireError(f"code of {member.size} bytes", where=name)
            found = TOUCHES_FILES.search(bytes(archive.bytes(name)))
            if found:
                raise WireError(f"its code calls '{found[0].decode()}', which touches files or foreign code", where=name)
    except WireError as error:
        raise UnreadableInput(f"{path} is a broken or hostile TorchScript file", why=str(error)) from None


def parameters_of(module: Any) -> list[str]:
    """What forward takes, without self, those with defaults left out."""
    arguments = module.forward.schema.arguments[1:]
    return [item.name for item in arguments if not item.has_default_value()]


def script_model(module: Any, examples: Examples, origin: Origin, inputs: list[str], outputs: list[str]) -> Model:
    """The model of a ScriptModule: through an ExportedProgram where torch can make one, else by the older exporter.

    Raises Declined with the reasons of both.
    """
    args = (*examples.args, *examples.kwargs.values())
    reasons: list[str] = []
    for way in (_by_export, _by_tracing):
        try:
            with quiet():
                return way(module, args, origin, inputs, outputs)
        except Declined as refusal:
            reasons += [blocker.reason for blocker in refusal.blockers]
        except Exception as error:  # noqa: BLE001  # torch's border: anything may be raised by its converters
            reasons.append(cause(error))
    rewrite = "torch.export.save of the Python module that it was scripted from"
    blockers = [Blocker("", "ScriptModule", "torch-script", reason, rewrite=rewrite) for reason in reasons]
    raise Declined("torch's exporters", blockers)


def _by_export(module: Any, args: tuple[Any, ...], origin: Origin, inputs: list[str], outputs: list[str]) -> Model:
    from torch._export.converter import TS2EPConverter

    program = TS2EPConverter(module, args, {}).convert()
    return to_model(program, origin=origin, input_names=inputs, output_names=outputs)


def _by_tracing(module: Any, args: tuple[Any, ...], origin: Origin, inputs: list[str], outputs: list[str]) -> Model:
    import onnx
    import onnx_ir
    import torch

    written = io.BytesIO()
    with torch.no_grad():
        torch.onnx.export(module, args, written, dynamo=False, opset_version=17, input_names=inputs, output_names=outputs)
    graph: onnx_ir.Model = onnx_ir.serde.deserialize_model(onnx.load_from_string(written.getvalue()))
    name_borders(graph, inputs, outputs)
    return Model(graph, origin, ["the older exporter wrote the graph: sizes are those of the example inputs"])
