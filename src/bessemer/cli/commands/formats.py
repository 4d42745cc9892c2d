"""`bessemer formats`."""

from __future__ import annotations

from bessemer.cli import options as o


def command(json: o.Json = False) -> None:
    """List the formats that can be read."""
    from bessemer.cli.listing import installed, listing
    from bessemer.cli.output import show, show_json
    from bessemer.sources.sniff import all_sources

    entries = all_sources()
    if json:
        keys = ("name", "title", "suffixes", "summary", "reads", "limits", "runtime", "extra")
        show_json({"formats": [{key: getattr(entry, key) for key in keys} for entry in entries]})
        return
    rows = [
        (entry.name, f"{entry.summary} Files: {', '.join(entry.suffixes)}.", entry.reads, entry.limits,
         installed(entry.runtime, entry.extra))
        for entry in entries
    ]  # fmt: skip
    show(listing(rows))
