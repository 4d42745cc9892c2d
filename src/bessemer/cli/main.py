"""`bessemer`: finds the command, runs it, and turns errors into one paragraph and an exit code."""

from __future__ import annotations

import errno
import gc
import os
import signal
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

COMMANDS: dict[str, str] = {
    "convert": "Convert a model, verify every artifact, report.",
    "join": "Join models into one, and verify it.",
    "inspect": "Show what a model is.",
    "check": "Ask targets whether they can run a model.",
    "verify": "Hold an artifact against its original.",
    "compare": "Compare the outputs of any two models.",
    "run": "Run a model in its own runtime.",
    "importance": "Measure which weights of a language model matter.",
    "analyze": "Show what integers cost layer by layer.",
    "formats": "List the formats that can be read.",
    "targets": "List the targets that can be written and run.",
    "doctor": "Show runtimes and extras: here or missing.",
    "conformance": "Run the ONNX standard's tests through a target.",
}
"""Name -> one line. Each is a module of `bessemer.cli.commands`."""

FAILED, UNREADABLE = 1, 5
SIGNALLED = 128


class Stopped(KeyboardInterrupt):
    """A signal asked us to stop.

    A class of our own: CPython remembers a plain KeyboardInterrupt that passed through an `exec` of text (a
    dataclass being made, say) and would then end the process by SIGINT, whatever we answer.
    """


class Lazy(TyperGroup):
    """Commands are imported by name, when they are asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """In the order in which a newcomer needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command called `cmd_name`, or None."""
        if cmd_name not in COMMANDS:
            return None
        if cmd_name not in self.commands:
            self.commands[cmd_name] = _load(cmd_name)
        return self.commands[cmd_name]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Know all names before a misspelt one is answered with the nearest."""
        if args and args[0] not in COMMANDS:
            self.commands.update({name: _load(name) for name in COMMANDS if name not in self.commands})
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; expected failures become a paragraph on stderr and their exit code."""
        from bessemer.ir.errors import BessemerError

        wants_json = "--json" in ctx.args
        _end_cleanly_on(signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        try:
            return super().invoke(ctx)
        except BessemerError as error:
            _refuse(error, wants_json)
        except KeyboardInterrupt as stop:
            number = stop.args[0] if stop.args else signal.SIGINT
            _stop("Interrupted. Nothing half-written was left behind.", SIGNALLED + number)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            _stop(f"{error.filename or 'The system'}: {error.strerror or error}.", FAILED)
        except (MemoryError, RecursionError) as error:
            excess = "memory than there is" if isinstance(error, MemoryError) else "nesting than is allowed"
            _stop(
                f"This model asks for more {excess}: it is too large for this machine, or hostile.",
                UNREADABLE,
            )


def _end_cleanly_on(*numbers: signal.Signals) -> None:
    """Let these signals unwind the stack, so that the workspace is removed and children end."""

    def unwind(number: int, _frame: object) -> NoReturn:
        raise Stopped(number)

    for number in numbers:
        signal.signal(number, unwind)


def _load(name: str) -> Any:
    function = import_module(f"bessemer.cli.commands.{name}").command
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(name, short_help=COMMANDS[name], context_settings={"help_option_names": ["-h", "--help"]})(
        function
    )
    return typer.main.get_command(single)


def _refuse(error: Any, wants_json: bool) -> NoReturn:
    if wants_json:
        from bessemer.cli.output import error_json

        typer.echo(error_json(error))
    _stop(str(error), error.exit_code)


def _stop(message: str, code: int) -> NoReturn:
    typer.echo(f"bessemer: {message}", err=True)
    raise typer.Exit(code)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"bessemer {version('bessemer')}")
        raise typer.Exit


app = typer.Typer(
    name="bessemer",
    cls=Lazy,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(
    epilog="Exit codes: 0 done and verified; 2 wrong usage; 3 declined; 4 verification failed; "
    "5 unreadable or hostile input; 6 a needed extra or runtime is missing."
)
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Convert trained models, and prove each conversion by running it beside the original."""


def main() -> None:
    """Entry point of the `bessemer` program."""
    from bessemer.runners.isolated import SHORT_SPIN

    for name, value in SHORT_SPIN.items():
        os.environ.setdefault(name, value)
    try:
        app()
    finally:
        gc.freeze()  # what goes away with the process need not be searched for cycles first
