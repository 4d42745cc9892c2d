"""`bessemer targets`."""

from __future__ import annotations

from bessemer.cli import options as o


def command(json: o.Json = False) -> None:
    """List the targets that can be written and run."""
    from bessemer.cli.listing import installed, listing
    from bessemer.cli.output import show, show_json
    from bessemer.targets.registry import all_targets

    entries = all_targets()
    if json:
        keys = ("name", "title", "summary", "precisions", "suffix", "runtime", "extra", "limits")
        show_json({"targets": [{key: getattr(entry, key) for key in keys} for entry in entries]})
        return
    rows = [
        (entry.name, entry.summary, (f"precisions: {', '.join(entry.precisions)}",), entry.limits,
         installed(entry.runtime, entry.extra))
        for entry in entries
    ]  # fmt: skip
    show(listing(rows))
