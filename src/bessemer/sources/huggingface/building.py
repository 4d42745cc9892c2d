"""A model of transformers around memory-mapped weights; it is held against them before anything is allocated."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bessemer.ir.errors import MissingExtra, UnreadableInput, UsageError
from bessemer.sources.huggingface.config import Settings
from bessemer.sources.huggingface.directory import Weights
from bessemer.sources.huggingface.mapped import Mapped, mapped

TIES = 4
"""Times that a tensor may stand in a model while it is built (embeddings and heads are tied afterwards)."""
SLACK = 1 << 24
"""Elements that a model may have beyond its weights' (heads that a task does without, say)."""
BUFFERS = 1 << 30
"""Bytes of tables that a model may make for itself."""


@dataclass(frozen=True)
class Built:
    """model: in evaluation mode, its parameters views of the mapped files; unused: tensors that it has no place for."""

    model: Any
    unused: tuple[str, ...]
    mapped: Mapped


def build(directory: Path, settings: Settings, weights: Weights, kind: Any) -> Built:
    """An object of the class `kind` with the weights. Raises UnreadableInput, UsageError for a task they do not fit."""
    held = mapped(weights)
    tensors = held.tensors
    elements = sum(tensor.numel() for tensor in tensors.values())
    from huggingface_hub import constants

    with ExitStack() as stack:
        stack.enter_context(_set(constants, "HF_HUB_OFFLINE", True))
        stack.enter_context(quiet())
        stack.enter_context(_accounting(elements * TIES + SLACK, settings.path, elements))
        model, said = _loaded(kind, settings, tensors)
    if _only_pooler_missing(kind, said):
        with quiet(), _set(constants, "HF_HUB_OFFLINE", True):
            model, said = _loaded(kind, settings, tensors, add_pooling_layer=False)
    _check(directory, kind, tensors, said)
    model.requires_grad_(False)
    return Built(model.eval(), tuple(sorted(said["unexpected_keys"])), held)


def _only_pooler_missing(kind: Any, said: dict[str, Any]) -> bool:
    """Whether the weights were saved from a model without the layer that sums up a text, which a base model may lack."""
    lacking = said["missing_keys"]
    able = "add_pooling_layer" in inspect.signature(kind.__init__).parameters
    return bool(lacking) and able and all(name.startswith("pooler.") for name in lacking)


def _loaded(kind: Any, settings: Settings, tensors: dict[str, Any], **other: Any) -> tuple[Any, dict[str, Any]]:
    try:
        return kind.from_pretrained(  # type: ignore[no-any-return]
            None,
            config=settings.config,
            state_dict=tensors,
            dtype=precision_of(settings, tensors),
            attn_implementation="eager",
            experts_implementation="batched_mm",
            output_loading_info=True,
            local_files_only=True,
            trust_remote_code=False,
            **other,
        )
    except _TooLarge as error:
        raise UnreadableInput(str(error), fix="Take the config.json that was saved with the weights") from None
    except ImportError as error:
        name = (str(error.name or "") or str(error).split("requires the ")[-1].split(" ")[0]).strip()
        raise MissingExtra(name[:60], extra="", needed_for=f"The architecture {kind.__name__}") from None
    except Exception as error:  # noqa: BLE001  # each class of transformers fails in its own way on settings that are wrong
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"
        raise UnreadableInput(f"{settings.path} and its weights do not make a {kind.__name__}", why=why) from None


def precision_of(settings: Settings, tensors: dict[str, Any]) -> Any:
    """The type that the model computes in: what its weights are stored as, most of them."""
    held: dict[Any, int] = {}
    for tensor in tensors.values():
        if tensor.dtype.is_floating_point:
            held[tensor.dtype] = held.get(tensor.dtype, 0) + tensor.numel()
    if not held:
        raise UnreadableInput(f"The weights beside {settings.path} hold no floating-point tensor")
    return max(held, key=lambda dtype: held[dtype])


def _check(directory: Path, kind: Any, tensors: dict[str, Any], said: dict[str, Any]) -> None:
    """No weight may be missing: transformers would draw it at random."""
    wrong = sorted(str(item[0] if isinstance(item, tuple) else item) for item in said.get("mismatched_keys", ()))
    if wrong:
        raise UnreadableInput(
            f"The weights of {directory} contradict its config.json", where=f"{len(wrong)} shapes, '{wrong[0]}' first"
        )
    missing = sorted(said["missing_keys"])
    if missing:
        raise UsageError(
            f"The weights of {directory} do not make a {kind.__name__}: {len(missing)} of its tensors are missing",
            where=", ".join(missing[:4]),
            why=f"they hold {len(tensors)} others; transformers would draw the missing ones at random",
            fix="Choose a --task whose head was trained (feature-extraction has none), or complete the directory",
        )


class _TooLarge(Exception):  # it never leaves this module
    """The settings ask for more than the weights hold."""


@contextmanager
def _accounting(limit: int, path: Path, held: int) -> Iterator[None]:
    """While a model is built on the meta device, its parameters and tables are counted; no memory is taken for them."""
    from torch.nn.modules import module as hooks

    total = {"parameters": 0, "tables": 0}

    def parameter(_module: Any, _name: str, tensor: Any) -> None:
        if tensor is not None and tensor.device.type == "meta":
            total["parameters"] += tensor.numel()
            if total["parameters"] > limit:
                raise _TooLarge(f"{path} asks for more parameters than the {held} that the weights hold")

    def table(_module: Any, name: str, tensor: Any) -> None:
        if tensor is not None:
            total["tables"] += tensor.numel() * tensor.element_size()
            if total["tables"] > BUFFERS + limit:
                raise _TooLarge(f"{path} asks for tables of {total['tables']} bytes ('{name}')")

    removable = (
        hooks.register_module_parameter_registration_hook(parameter),
        hooks.register_module_buffer_registration_hook(table),
    )
    try:
        yield
    finally:
        for hook in removable:
            hook.remove()


@contextmanager
def _set(module: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and warnings of transformers: what matters of them is an error here."""
    from transformers.utils import logging

    said: Any = logging
    level, bars = said.get_verbosity(), said.is_progress_bar_enabled()
    said.set_verbosity(said.CRITICAL)
    said.disable_progress_bar()
    try:
        yield
    finally:
        said.set_verbosity(level)
        if bars:
            said.enable_progress_bar()
