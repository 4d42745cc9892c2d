"""What is read for a proof: Bessemer's own sample (prose, dialogue, numbers, lists, code) or the user's text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bessemer.ir.errors import UnreadableInput
from bessemer.verify.language.subjects import Subject, Window, Words

SHORT, WINDOWS, LONG = 64, 4, 512
"""Tokens of a short window, how many of them, and tokens of the long one."""
LARGE, WORK, LEAST = 500_000_000, 300_000_000_000, 256
"""Weights from which on fewer tokens are read: half as many short windows, and in the long one as many as WORK weighs, not
fewer than LEAST. A weight is multiplied once for each token, by both sides and the decoded weights."""
LONGEST = 1 << 20
"""Characters of a text that are used."""


@dataclass(frozen=True)
class Text:
    """name: as the report says it."""

    name: str
    content: str


@dataclass(frozen=True)
class Plan:
    """Windows to read, and how many tokens stand at the start of each that no text predicts."""

    short: tuple[Window, ...]
    long: tuple[Window, ...]


def sample() -> Text:
    """The text that comes with Bessemer."""
    path = Path(__file__).parent / "sample.txt"
    return Text("Bessemer's own English sample", path.read_text("utf-8"))


def read(path: Path) -> Text:
    """The user's. Raises UnreadableInput for what is no text in UTF-8, or is empty."""
    try:
        with path.open(encoding="utf-8") as stream:
            content = stream.read(LONGEST)
    except UnicodeDecodeError as error:
        raise UnreadableInput(
            f"{path} is no text in UTF-8", why=f"at byte {error.start}: {error.reason}"
        ) from None
    except OSError as error:
        raise UnreadableInput(f"{path} cannot be read", why=str(error.strerror)) from None
    if not content.strip():
        raise UnreadableInput(f"{path} holds no text")
    return Text(path.name, content)


def tokens(words: Words | None, text: Text, vocabulary: int) -> list[int]:
    """Of the text; random ones where there is no tokenizer."""
    if words is not None and (found := words.encode([text.content])[0]):
        return found
    drawn = np.random.default_rng(7).integers(0, vocabulary, 2 * LONG)
    return [int(token) for token in drawn]


def plan(
    held: Sequence[int], words: Words | None, original: Subject, artifact: Subject, parameters: int = 0
) -> Plan:
    """Short windows from all over the text, and one long one from its start, as long as both models read at once.
    parameters: of the model."""
    windows, longest = WINDOWS, LONG
    if parameters > LARGE:
        windows, longest = WINDOWS // 2, max(LEAST, min(LONG, WORK // parameters))
    prefix, suffix = around(words, original)
    limits = [limit for limit in (original.context, artifact.context) if limit > 0]
    most = min([longest, *limits]) - len(prefix) - len(suffix)
    short = min(SHORT - len(prefix) - len(suffix), most)
    count = max(1, min(windows, len(held) // max(short, 1)))
    starts = (
        [(len(held) - short) * place // max(count - 1, 1) for place in range(count)]
        if len(held) > short
        else [0]
    )

    def window(start: int, size: int) -> Window:
        return (*prefix, *held[start : start + size], *suffix)

    long = (window(0, most),) if most > short and len(held) > short else ()
    return Plan(tuple(window(start, short) for start in starts), long)


def around(words: Words | None, original: Subject) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What stands before and behind a window: a text's beginning for those that generate, both for encoders."""
    if words is None or original.kind == "seq2seq":
        return (), ()
    return words.prefix or (), (words.suffix or ()) if original.kind == "encoder" else ()
