"""`bessemer inspect`."""

from __future__ import annotations

from bessemer.cli import options as o


@o.asks(*o.MODEL)
def command(asked: o.Asked, model: o.ModelPath, json: o.Json = False) -> None:
    """Show what a model is: inputs, outputs, operators, parameters, MACs, weights, activation memory."""
    from bessemer.cli.output import Stages, show, show_record

    options = asked.options()

    from bessemer import pipeline

    with Stages() as stages:
        stages.stage("inspect")
        record = pipeline.inspect(model, options)
    if json:
        show_record(record)
        return
    from bessemer.report import terminal

    show(terminal.model(record))
