"""`bessemer check`."""

from __future__ import annotations

from bessemer.cli import options as o


@o.asks(*o.MODEL, "to", "level")
def command(asked: o.Asked, model: o.ModelPath, json: o.Json = False) -> None:
    """Ask targets whether they can run a model: it is really lowered, but nothing is written or run.

    Exit code: 0 when all can, 3 when one declines.
    """
    from bessemer.cli.stopping import stop_before_writing

    stop_before_writing(asked, model, None, json)
