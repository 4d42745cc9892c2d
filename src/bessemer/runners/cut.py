"""A part of a model beside its original: the whole runs, and the values at the part's borders are tapped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from bessemer.ir.cut import Tap, Taps
from bessemer.ir.errors import Blocker, Declined, RuntimeRefused
from bessemer.ir.signature import Signature, TensorSpec
from bessemer.ir.types import Array
from bessemer.runners.base import Runner


class CutRunner:
    """Takes the inputs of the whole; answers with every border of the part, its inputs first.

    Nothing is generated in the middle of a model: what the part is fed in a verification was made by the original.
    """

    def __init__(self, whole: Runner, taps: Taps, part: Callable[[], Runner | None] | None = None) -> None:
        """part: the original without what the borders do not need, for a runtime that refuses to run the whole."""
        self._whole, self._taps, self._part = whole, taps, part
        self._given = {spec.name for spec in whole.signature.inputs}

    @property
    def runtime(self) -> str:
        """What executes the whole."""
        return self._whole.runtime

    @property
    def signature(self) -> Signature:
        """Inputs of the whole; the part's borders, whose types and shapes only its graph knows."""
        known = {spec.name: spec for spec in self._whole.signature.outputs}
        outputs = (*self._taps.inputs, *self._taps.outputs)
        specs = tuple(known.get(tap.name, TensorSpec(tap.name, "", ())) for tap in outputs)
        return Signature(self._whole.signature.inputs, specs)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The borders by name, from one run of the whole. Raises Declined where its runtime cannot show one."""
        try:
            return self._borders(inputs)
        except RuntimeRefused:
            part = None if self._part is None else self._part()
            if part is None:
                raise
        self._whole, self._part = part, None
        return self._borders(inputs)

    def _borders(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        borders = dict.fromkeys((*self._taps.inputs, *self._taps.outputs))
        inside = [tap for tap in borders if tap.name not in self._given]
        found = self._whole.tap(inputs, [tap.tensor for tap in inside]) if inside else {}
        found = dict(found)
        if any(tap.tensor not in found for tap in inside):
            found |= self._from_outputs(inputs, inside, found)
        self._refuse([tap for tap in inside if tap.tensor not in found])
        return {tap.name: inputs[tap.name] if tap.name in self._given else found[tap.tensor] for tap in borders}

    def tap(self, inputs: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
        """Intermediate values of the whole."""
        return self._whole.tap(inputs, names)

    def _from_outputs(
        self, inputs: Mapping[str, Array], inside: Sequence[Tap], found: Mapping[str, Array]
    ) -> dict[str, Array]:
        """Outputs of the whole, for runtimes that do not tap those."""
        outputs = {spec.name for spec in self._whole.signature.outputs}
        wanted = [tap for tap in inside if tap.tensor not in found and tap.name in outputs]
        answer = self._whole.run(inputs) if wanted else {}
        return {tap.tensor: answer[tap.name] for tap in wanted}

    def _refuse(self, missing: Sequence[Tap]) -> None:
        if not missing:
            return
        reason = f"{self.runtime} does not show this value of the original, so nothing could be verified against it"
        rewrite = "a cut at a tensor that the original file names"
        raise Declined(
            "Verifying the cut", [Blocker(tap.name, "cut", "no-tap", reason, rewrite=rewrite) for tap in missing]
        )
