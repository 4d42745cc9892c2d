"""`bessemer importance`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bessemer.cli import options as o

if TYPE_CHECKING:
    from bessemer.targets.gguf.importance import Matrix

Text = Annotated[Path, typer.Argument(metavar="TEXT", help="A text like those that the model is for, in UTF-8.")]
Out = Annotated[
    Path, typer.Option("--out", "-o", metavar="FILE", help="The matrix, in the GGUF form that llama-quantize reads too.")
]
Chunk = Annotated[int, typer.Option("--chunk", min=16, metavar="N", help="Tokens that see each other.")]
Chunks = Annotated[int | None, typer.Option("--chunks", min=1, metavar="N", help="Read no more than so many chunks.")]
Output = Annotated[bool, typer.Option("--output-matrix", help="Measure the output matrix too.")]


@o.asks("adapter", "base")
def command(
    asked: o.Asked,
    model: o.ModelPath,
    text: Text,
    out: Out = Path("imatrix.gguf"),
    chunk: Chunk = 512,
    chunks: Chunks = None,
    output_matrix: Output = False,
    json: o.Json = False,
) -> None:
    """Measure an importance matrix: run a language model on a text and note which columns of its matrices are used most.
    Encoders of GGUF spend their precision there: `--to gguf:Q4_K_M,importance=imatrix.gguf`.
    """
    from bessemer.cli.output import Stages, show, show_json

    options = asked.options()

    from bessemer.opening import open_checkpoint
    from bessemer.targets.gguf.importance import measured_on

    words = _words(text)
    with Stages() as stages:
        stages.stage("measure")
        checkpoint = open_checkpoint(model, options.opening)
        matrix = measured_on(
            checkpoint, words, name=text.name, chunk=chunk, chunks=chunks, output=output_matrix, done=stages.at
        )
    _write(out, matrix)
    if json:
        show_json(_facts(out, matrix))
        return
    show(f"{out}: {len(matrix.sums)} matrices, measured on {matrix.chunks} chunks of {matrix.chunk_size} tokens")
    for name, count in matrix.unseen().items():
        experts = len(matrix.counts[name])
        show(f"{name}: no token came to {count} of {experts} experts; for these all columns count the same")


def _words(path: Path) -> str:
    from bessemer.ir.errors import UnreadableInput

    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UnreadableInput("The text cannot be read", where=str(path), why=str(error.strerror)) from None
    except UnicodeDecodeError as error:
        raise UnreadableInput("The text is not UTF-8", where=str(path), why=str(error)) from None


def _write(out: Path, matrix: Matrix) -> None:
    """Beside its place, then moved there."""
    from bessemer.ir.errors import UsageError
    from bessemer.targets.gguf.importance import write

    draft = out.with_name(f".{out.name}.tmp")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write(draft, matrix)
        draft.replace(out)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise UsageError(f"The matrix cannot be written to {out}", why=str(error.strerror)) from None


def _facts(out: Path, matrix: Matrix) -> dict[str, Any]:
    return {
        "path": str(out),
        "matrices": len(matrix.sums),
        "chunks": matrix.chunks,
        "chunk_size": matrix.chunk_size,
        "unseen_experts": matrix.unseen(),
    }
