"""Keras models, .h5 and .keras: rebuilt from config and weights; Keras itself is never needed to read one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bessemer.ir.errors import Blocker, Declined, UnreadableInput, UsageError
from bessemer.ir.model import Model, Origin
from bessemer.ir.unread import Unread
from bessemer.sources.base import OpenOptions

if TYPE_CHECKING:
    from bessemer.ir.types import Array
    from bessemer.runners.base import Runner
    from bessemer.sources.keras.container import Container
    from bessemer.sources.keras.network import Network

BROKEN = (IndexError, KeyError, ValueError, TypeError, AttributeError, RecursionError, OverflowError)


class KerasSource:
    """Reads .h5, .hdf5 and .keras; see `Source`."""

    def open(self, path: Path, options: OpenOptions) -> Model:
        """Parse `path`; raises UnreadableInput for broken files, Declined for layers with no meaning in ONNX."""
        import onnx_ir

        from bessemer.sources.keras.draw import draw
        from bessemer.sources.keras.network import Contradiction

        if options.signature is not None:
            raise UsageError("A Keras model has no signatures", fix="Leave --signature away")
        container, network, weights = parse(path, options)
        notes: list[str] = []
        try:
            graph, blockers = draw(network, weights, container.generation, path, notes)
        except Contradiction as error:
            raise _contradicts(path, error) from None
        model = onnx_ir.Model(graph, ir_version=11, producer_name="bessemer")
        read = Model(model, Origin("keras", path, details(container, network)), notes)
        if blockers:
            raise Unread(f"Reading {path.name}: ONNX", blockers, read)
        return read

    def runner(self, path: Path, options: OpenOptions) -> Runner:
        """The file in Keras (tf_keras for what Keras 1 and 2 wrote), or in the reference evaluator of its layers.

        `auto` takes the evaluator for layers that compute in float16 or bfloat16, too: Keras's own rounding is coarser
        than what an artifact, which computes in float32, is held to.
        """
        from bessemer.runners.keras.runtime import KerasRunner, package_of
        from bessemer.sources.keras.border import inputs_of, output_names
        from bessemer.sources.keras.reference import KerasReference

        container, network, weights = parse(path, options)
        generation = container.generation
        coarse = options.original == "auto" and (package_of(generation) is None or computes_in_half(network))
        if options.original == "reference" or coarse:
            return KerasReference(network, weights, generation)
        borders = inputs_of(network)
        names = [border.name for border in borders]
        shape = [None if isinstance(dim, str) else dim for dim in borders[0].shape]
        return KerasRunner(path, generation, names, output_names(network, taken=names), shape)


def computes_in_half(network: Network) -> bool:
    """Whether a layer's policy is float16 or bfloat16, mixed or not."""
    from bessemer.sources.keras.registry import policy_of

    return any(
        computes_in_half(spec.inner) if spec.inner is not None
        else spec.kind != "InputLayer" and "float16" in policy_of(spec.config)
        for spec in network.layers.values()
    )  # fmt: skip


def parse(path: Path, options: OpenOptions) -> tuple[Container, Network, dict[str, tuple[Array, ...]]]:
    """What the file holds. Raises UnreadableInput saying where it is broken, Declined for a class of the user's own."""
    from bessemer.sources.keras.container import open_container
    from bessemer.sources.keras.network import Contradiction, Reading, is_model, read_network
    from bessemer.sources.keras.weights import read_weights
    from bessemer.wire.errors import WireError

    container = open_container(path)
    try:
        if not is_model(container.config):
            raise _subclassed(container)
        network = read_network(container.config, Reading(container.generation, options.shapes))
        return container, network, read_weights(container, network)
    except WireError as error:
        raise UnreadableInput(f"{path} is broken or hostile", why=str(error)) from None
    except Contradiction as error:
        raise _contradicts(path, error) from None
    except BROKEN as error:
        why = f"its config contradicts itself ({type(error).__name__}: {error})"
        raise UnreadableInput(f"{path} is broken or hostile", why=why) from None


def _contradicts(path: Path, error: Exception) -> UnreadableInput:
    return UnreadableInput(f"{path} is broken or hostile", why=f"its config contradicts itself: {error}")


def _subclassed(container: Container) -> Declined:
    kind = str(container.config.get("class_name") or "?")
    reason = f"the model is of the class {kind}, whose computation stands in Python code and not in the file"
    rewrite = "a Sequential or functional model, or a SavedModel (model.export)"
    return Declined(
        f"Reading {container.path.name}: ONNX", [Blocker(kind, "Model", "subclassed-model", reason, rewrite=rewrite)]
    )


def details(container: Container, network: Network) -> dict[str, Any]:
    """What `inspect` shows beyond the graph."""
    return {
        "keras": container.version,
        **container.details,
        "model": f"{network.kind} '{network.name}'",
        "layers": len(network.layers),
    }


SOURCE = KerasSource()
