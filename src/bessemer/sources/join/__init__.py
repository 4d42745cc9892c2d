"""Plans of joined models (`bessemer join` writes them): several originals, read as one graph and run as a chain."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bessemer.ir.errors import UsageError
from bessemer.ir.model import Model, Origin
from bessemer.sources.base import OpenOptions
from bessemer.sources.join.records import Member, Scale, read
from bessemer.workspace import fingerprint

if TYPE_CHECKING:
    from bessemer.runners.base import Runner


class JoinSource:
    """Reads .join; see `Source`."""

    def open(self, path: Path, options: OpenOptions) -> Model:
        """All members in one canonical graph. Raises what their sources raise, UsageError for a changed member."""
        from bessemer.sources.join.merge import merge
        from bessemer.sources.sniff import identify

        plan = read(path)
        models = {}
        for member in plan.models:
            file = place_of(path, member)
            models[member.label] = identify(file).load().open(file, _options(member, options))
        graph, notes = merge(plan, models, path)
        shown = ", ".join(f"{member.label} ({member.format})" for member in plan.models)
        return Model(graph, Origin("join", path, {"models": shown}), notes)

    def runner(self, path: Path, options: OpenOptions) -> Runner:
        """Each member in its own runtime, one after another. Raises MissingExtra."""
        from bessemer.runners.chain import ChainRunner, Link
        from bessemer.sources.sniff import identify

        plan = read(path)
        runners = {}
        for member in plan.models:
            file = place_of(path, member)
            runners[member.label] = identify(file).load().runner(file, _options(member, options))
        links = [
            Link(
                (wire.to.model, wire.to.tensor), (wire.source.model, wire.source.tensor), wire.output is not None,
                wire.order, _meaning(wire.dequantize), _meaning(wire.quantize), wire.cast,
            )
            for wire in plan.wires
        ]  # fmt: skip
        inputs = {border.name: (border.place.model, border.place.tensor) for border in plan.inputs}
        outputs = {border.name: (border.place.model, border.place.tensor) for border in plan.outputs}
        return ChainRunner(runners, links, inputs, outputs)


def _meaning(held: Scale | None) -> tuple[float, int, str] | None:
    return None if held is None else (held.scale, held.zero_point, held.dtype)


def _options(member: Member, options: OpenOptions) -> OpenOptions:
    return OpenOptions(signature=member.signature, original=options.original)


def place_of(path: Path, member: Member) -> Path:
    """The file or directory of a member, which must be the very same as when the plan was made."""
    found = next((place for place in (path.parent / member.path, Path(member.path)) if place.exists()), None)
    if found is None:
        raise UsageError(
            f"{path} joins {member.path}, which is not there", why="every part is executed in its own runtime",
            fix="Put it back, or join again",
        )  # fmt: skip
    if fingerprint(found) != (member.bytes, member.sha256):
        why = "its size or hash differs"
        raise UsageError(f"{found} is not the file that {path} was made of", why=why, fix="Join again")
    return found


SOURCE = JoinSource()
