"""Which release a libllama is of shows in its default parameters, all of them, or it is refused."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import pytest

from bessemer.runners.llama import layouts
from bessemer.runners.llama.layouts import SIZE, Field, UnknownLibrary, recognised

TYPES = {"I": ctypes.c_uint32, "i": ctypes.c_int32, "f": ctypes.c_float, "P": ctypes.c_void_p, "?": ctypes.c_bool,
         "N": ctypes.c_size_t}  # fmt: skip
ALL = [("context", layouts.CONTEXT, at) for at in range(len(layouts.CONTEXT))]
ALL += [("model", layouts.MODEL, at) for at in range(len(layouts.MODEL))]
ALL += [("quantize", layouts.QUANTIZE, at) for at in range(len(layouts.QUANTIZE))]


def compiled(fields: Sequence[Field], **changed: float) -> Any:
    """The struct as a C compiler lays it out (ctypes), filled with its defaults."""
    kind = type(
        "Compiled", (ctypes.Structure,), {"_fields_": [(name, TYPES[code]) for name, code, _ in fields]}
    )
    values = {name: 4 if default is None else default for name, _, default in fields} | changed
    return kind(**{name: float(v) if kind.__dict__ and TYPES[code] is ctypes.c_float else int(v)
                   for (name, code, _), v in zip(fields, values.values(), strict=True)})  # fmt: skip


def room(struct: Any) -> bytes:
    return bytes(struct).ljust(SIZE, b"\xa5")


@pytest.mark.parametrize(("what", "known", "at"), ALL)
def test_every_release_is_told_from_the_others(what: str, known: Sequence[Sequence[Field]], at: int) -> None:
    struct = compiled(known[at])
    found = recognised(what, known, room(struct), "here")
    assert {name: place for name, (place, _) in found.places.items()} == {
        name: getattr(type(struct), name).offset for name, _, _ in known[at]
    }


@pytest.mark.parametrize(("field", "value"), [("n_batch", 4096), ("attention_type", 0), ("op_offload", 0)])
def test_another_default_is_refused(field: str, value: float) -> None:
    data = room(compiled(layouts.CONTEXT[0], **{field: value}))
    with pytest.raises(UnknownLibrary, match="libllama in /opt/x"):
        recognised("llama_context_default_params", layouts.CONTEXT, data, "/opt/x")


def test_a_field_is_written_in_its_place() -> None:
    struct = compiled(layouts.MODEL[0])
    data = bytearray(room(struct))
    recognised("model", layouts.MODEL, bytes(data), "here").put(data, "vocab_only", 1)
    changed = type(struct).from_buffer_copy(data)
    assert changed.vocab_only
    assert not changed.check_tensors
    assert changed.use_extra_bufts
