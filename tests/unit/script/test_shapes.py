"""How shapes are spelled after --shape."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bessemer.ir.errors import UsageError
from bessemer.script.shapes import Dim, parse


@pytest.mark.parametrize(
    ("text", "name", "dims"),
    [
        ("input=1x3x224x224", "input", (1, 3, 224, 224)),
        ("input=1..8x3x224x224", "input", ((1, 8), 3, 224, 224)),
        ("input=Nx3x224x224", "input", ("N", 3, 224, 224)),
        ("input=batch,3,max_len", "input", ("batch", 3, "max_len")),
        ("serving_default:0=1x2", "serving_default:0", (1, 2)),
        ("a=b=4", "a=b", (4,)),
        ("scalar=", "scalar", ()),
    ],
)
def test_spellings(text: str, name: str, dims: tuple[Dim, ...]) -> None:
    assert parse([text]) == {name: dims}


@pytest.mark.parametrize(
    "text", ["1x3", "=1x3", "x=0x3", "x=-1", "x=1xx3", "x=8..2", "x=1.5", "x=99999999999", "x=²"]
)
def test_mistakes_are_usage_errors(text: str) -> None:
    with pytest.raises(UsageError, match="--shape"):
        parse([text])


def test_an_input_has_one_shape() -> None:
    with pytest.raises(UsageError, match="twice"):
        parse(["x=1", "x=2"])


_dims = st.one_of(
    st.integers(1, 2**31 - 1),
    st.sampled_from(["N", "batch", "T"]),
    st.tuples(st.integers(1, 100), st.integers(100, 1000)),
)


@given(st.lists(_dims, max_size=6))
def test_parse_undoes_spelling(dims: list[Dim]) -> None:
    text = "x".join(f"{dim[0]}..{dim[1]}" if isinstance(dim, tuple) else str(dim) for dim in dims)
    assert parse([f"in={text}"]) == {"in": tuple(dims)}


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse([text])
    except UsageError:
        return
