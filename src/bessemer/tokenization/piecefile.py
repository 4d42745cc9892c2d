"""SentencePiece's model file: a protobuf message, read within bounds and written.

Fields (sentencepiece/src/sentencepiece_model.proto): ModelProto 1 pieces (1 text, 2 score, 3 type), 2 trainer_spec (3 model
type, 24 treat_whitespace_as_suffix, 35 byte_fallback, 40 to 43 ids of unk, bos, eos, pad), 3 normalizer_spec (1 name,
2 charsmap, 3 add_dummy_prefix, 4 remove_extra_whitespaces, 5 escape_whitespaces).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from bessemer.ir.errors import UnreadableInput
from bessemer.tokenization.jsonfiles import MAXIMUM_BYTES, MAXIMUM_TOKENS
from bessemer.wire.errors import WireError
from bessemer.wire.protobuf import fields

UNIGRAM, BPE = 1, 2
_FLOAT = struct.Struct("<f")


@dataclass(frozen=True)
class PieceFile:
    """pieces: (text, score, type), types as in GGUF; model: 1 Unigram, 2 BPE, 3 words, 4 characters; ids: role -> id, -1
    where there is none."""

    pieces: tuple[tuple[str, float, int], ...]
    model: int = UNIGRAM
    ids: dict[str, int] = field(default_factory=dict)
    charsmap: bytes = b""
    add_dummy_prefix: bool = True
    remove_extra_whitespaces: bool = True
    escape_whitespaces: bool = True
    whitespace_suffix: bool = False
    byte_fallback: bool = False
    normalizer: str = "identity"


def read(path: Path) -> PieceFile:
    """Raises UnreadableInput where the file is no SentencePiece model."""
    size = path.stat().st_size
    if size > MAXIMUM_BYTES:
        raise UnreadableInput(f"{path} holds {size} bytes, more than a tokenizer needs")
    try:
        return _model(path.read_bytes())
    except (WireError, UnicodeDecodeError, struct.error) as error:
        raise UnreadableInput(f"{path} is not a SentencePiece model", why=str(error)) from error


def _model(data: bytes) -> PieceFile:
    pieces: list[tuple[str, float, int]] = []
    trainer: dict[int, bytes] = {}
    normalizer: dict[int, bytes] = {}
    for number, value in fields(data):
        payload = bytes(value)
        if number == 1:
            pieces.append(_piece(payload))
        elif number in (2, 3):
            (trainer if number == 2 else normalizer).update((n, bytes(v)) for n, v in fields(payload))
    if not pieces or len(pieces) > MAXIMUM_TOKENS:
        raise WireError(f"it holds {len(pieces)} pieces")
    return PieceFile(
        pieces=tuple(pieces),
        model=_number(trainer.get(3), UNIGRAM),
        ids={role: _number(trainer.get(40 + i), default) for i, (role, default) in enumerate(_IDS)},
        charsmap=normalizer.get(2, b""),
        add_dummy_prefix=bool(_number(normalizer.get(3), 1)),
        remove_extra_whitespaces=bool(_number(normalizer.get(4), 1)),
        escape_whitespaces=bool(_number(normalizer.get(5), 1)),
        whitespace_suffix=bool(_number(trainer.get(24), 0)),
        byte_fallback=bool(_number(trainer.get(35), 0)),
        normalizer=normalizer.get(1, b"").decode("utf-8"),
    )


_IDS = (("unk", 0), ("bos", 1), ("eos", 2), ("pad", -1))


def _piece(payload: bytes) -> tuple[str, float, int]:
    """The field order that SentencePiece writes goes fast: a vocabulary has up to a quarter of a million pieces."""
    size = payload[1] if len(payload) > 6 and payload[0] == 0x0A else 0x80
    end = size + 7
    if size < 0x80 and payload[size + 2 : size + 3] == b"\x15" and len(payload) in (end, end + 2):
        kind = payload[end + 1] if len(payload) > end else 1
        if kind < 0x80 and payload[end : end + 1] in (b"", b"\x18"):
            return payload[2 : size + 2].decode("utf-8"), _FLOAT.unpack_from(payload, size + 3)[0], kind
    found = {number: bytes(value) for number, value in fields(payload)}
    score: float = _FLOAT.unpack(found[2])[0] if 2 in found else 0.0
    return found.get(1, b"").decode("utf-8"), score, _number(found.get(3), 1)


def _number(varint: bytes | None, default: int) -> int:
    if varint is None:
        return default
    value = sum((byte & 0x7F) << 7 * i for i, byte in enumerate(varint))
    return value - (1 << 64) if value >= 1 << 63 else value


def write(path: Path, model: PieceFile) -> None:
    """A file that the `sentencepiece` library reads."""
    pieces = b"".join(
        _nested(1, _nested(1, text.encode("utf-8")) + b"\x15" + struct.pack("<f", score) + _varint(3, kind))
        for text, score, kind in model.pieces
    )
    ids = [(40 + i, model.ids.get(role, default)) for i, (role, default) in enumerate(_IDS)]
    unk = model.pieces[model.ids.get("unk", 0)][0]
    trainer = _numbers([(3, model.model), (24, model.whitespace_suffix), (35, model.byte_fallback), *ids])
    flags = (model.add_dummy_prefix, model.remove_extra_whitespaces, model.escape_whitespaces)
    normalizer = _nested(1, model.normalizer.encode("utf-8")) + _nested(2, model.charsmap)
    normalizer += _numbers((3 + i, flag) for i, flag in enumerate(flags))
    path.write_bytes(pieces + _nested(2, trainer + _nested(45, unk.encode("utf-8"))) + _nested(3, normalizer))


def _numbers(rows: Iterable[tuple[int, int]]) -> bytes:
    return b"".join(_varint(number, int(value)) for number, value in rows)


def _varint(number: int, value: int) -> bytes:
    return _base128(number << 3) + _base128(value & (1 << 64) - 1)


def _nested(number: int, payload: bytes) -> bytes:
    return _base128(number << 3 | 2) + _base128(len(payload)) + payload


def _base128(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
