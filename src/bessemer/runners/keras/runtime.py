"""A Keras file in Keras itself: tf_keras for what Keras 1 and 2 wrote, Keras 3 on whichever backend is installed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from bessemer.ir.errors import MissingExtra, RuntimeRefused, UsageError
from bessemer.ir.signature import Signature, TensorSpec
from bessemer.ir.types import Array

BACKENDS = ("tensorflow", "torch", "jax")
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "TF_ENABLE_ONEDNN_OPTS": "0"}


def package_of(generation: int) -> str | None:
    """The installed package that loads files of this generation; None where there is none."""
    if generation < 3:
        return "tf_keras" if find_spec("tf_keras") and find_spec("tensorflow") else None
    try:
        major = int(version("keras").split(".")[0])
    except PackageNotFoundError:
        return None
    return "keras" if major >= 3 and _backend() else None


def _backend() -> str | None:
    wanted = os.environ.get("KERAS_BACKEND")
    return wanted or next((name for name in BACKENDS if find_spec(name)), None)


class KerasRunner:
    """A model on the CPU, called with `training=False`; code in the file (Lambda) is not run.

    inputs, outputs: what they are called, in the model's flat order. shapes: of a model that was saved before it was
    built. Raises MissingExtra, RuntimeRefused.
    """

    def __init__(
        self, path: Path, generation: int, inputs: Sequence[str], outputs: Sequence[str], shape: Sequence[int | None] = ()
    ) -> None:
        package = package_of(generation)
        if package is None:
            wanted = "tf_keras" if generation < 3 else "keras"
            raise MissingExtra(wanted, extra="tensorflow", needed_for="Running a Keras model in Keras")
        os.environ.update({name: os.environ.get(name, value) for name, value in QUIET.items()})
        if generation < 3:
            os.environ["TF_USE_LEGACY_KERAS"] = "1"
        else:
            os.environ.setdefault("KERAS_BACKEND", _backend() or "")
        self._path, self._keras = path, import_module(package)
        backend = "tensorflow" if generation < 3 else str(self._keras.backend.backend())
        self.runtime = f"{package} {self._keras.__version__} on {backend} {import_module(backend).__version__}"
        self._model = self._loaded(path, shape)
        self._names = tuple(inputs), tuple(outputs)
        self._flat = self._submodel(list(self._model.outputs))
        self.signature = Signature(
            tuple(_spec(name, tensor) for name, tensor in zip(inputs, self._model.inputs, strict=True)),
            tuple(_spec(name, tensor) for name, tensor in zip(outputs, self._model.outputs, strict=True)),
        )

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name."""
        return dict(zip(self._names[1], self._call(self._flat, inputs), strict=True))

    def tap(self, inputs: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
        """Results of layers by name ('conv', its second call 'conv#1', its second output 'conv:1')."""
        found = {name: tensor for name in names if (tensor := self._tensor(name)) is not None}
        if not found:
            return {}
        results = self._call(self._submodel(list(found.values())), inputs)
        return dict(zip(found, results, strict=True))

    def _loaded(self, path: Path, shape: Sequence[int | None]) -> Any:
        try:
            options = {"safe_mode": True} if path.suffix == ".keras" else {}
            model = self._keras.models.load_model(str(path), compile=False, **options)
            if shape and not model.built:
                model.build(tuple(shape))
        except (ValueError, TypeError, KeyError, AttributeError, OSError, NotImplementedError, ImportError) as error:
            raise RuntimeRefused(f"Keras refuses {path.name}", why=str(error)[:400]) from None
        return model

    def _submodel(self, outputs: list[Any]) -> Any:
        return self._keras.Model(list(self._model.inputs), outputs)

    def _call(self, model: Any, inputs: Mapping[str, Array]) -> list[Array]:
        missing = [spec.name for spec in self.signature.inputs if spec.name not in inputs]
        if missing:
            raise UsageError(f"The model needs the input '{missing[0]}'")
        fed = [np.asarray(inputs[spec.name], spec.dtype) for spec in self.signature.inputs]
        try:
            made = model(fed if len(fed) > 1 else fed[0], training=False)
        except (ValueError, TypeError, RuntimeError, IndexError) as error:
            raise RuntimeRefused(f"Keras refuses to run {self._path.name}", why=str(error)[:400]) from None
        return [_array(item) for item in (made if isinstance(made, list | tuple) else [made])]

    def _tensor(self, name: str) -> Any:
        """The symbolic result of a layer of the model itself (not of a model inside it); None where there is none."""
        path, _, place = name.partition(":")
        layer, _, call = path.partition("#")
        try:
            held = self._model.get_layer(layer)
            made = held._inbound_nodes[int(call or 0)].output_tensors
        except (ValueError, IndexError, AttributeError):
            return None
        flat = list(made) if isinstance(made, list | tuple) else [made]
        return flat[int(place or 0)] if int(place or 0) < len(flat) else None


def _array(item: Any) -> Array:
    """Results of any backend; those of torch know that they were computed with gradients."""
    return np.asarray(item.detach().cpu() if hasattr(item, "detach") else item)


def _spec(name: str, tensor: Any) -> TensorSpec:
    kind = tensor.dtype if isinstance(tensor.dtype, str) else tensor.dtype.name
    return TensorSpec(name, kind, tuple(None if dim is None else int(dim) for dim in tensor.shape))
