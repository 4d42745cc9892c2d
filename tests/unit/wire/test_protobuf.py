"""Fields of a message, against the protobuf library's own serialiser."""

from __future__ import annotations

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from bessemer.wire.errors import WireError
from bessemer.wire.protobuf import fields


def _model() -> onnx.ModelProto:
    node = helper.make_node("Relu", ["x"], ["y"])
    borders = [helper.make_tensor_value_info(name, 1, [1 << 40]) for name in "xy"]
    made = helper.make_model(helper.make_graph([node], "g", borders[:1], borders[1:]))
    made.metadata_props.add(key="k", value="v" * 300)
    return made


def test_every_field_is_found_with_its_payload() -> None:
    made = _model()
    found = list(fields(memoryview(made.SerializeToString())))
    assert {number for number, _ in found} == {field.number for field, _ in made.ListFields()}
    assert bytes(dict(found)[7]) == made.graph.SerializeToString()
    assert [(n, bytes(p)) for n, p in fields(dict(found)[14])] == [(1, b"k"), (2, b"v" * 300)]


def test_fixed_widths_are_stepped_over() -> None:
    tensor = onnx.TensorProto(float_data=[1.0, 2.0], double_data=[3.0])
    attribute = onnx.AttributeProto(f=1.5, name="a")
    assert [number for number, _ in fields(attribute.SerializeToString())] == [1, 2]
    assert {number for number, _ in fields(tensor.SerializeToString())} == {4, 10}


@given(st.integers(1, 400))
def test_a_cut_message_is_broken_or_ends_between_fields(cut: int) -> None:
    data = _model().SerializeToString()
    whole = list(fields(data))
    try:
        found = list(fields(data[:-cut]))
    except WireError as error:
        assert error.offset is not None
    else:
        assert found == whole[: len(found)]
        assert len(found) < len(whole)


@pytest.mark.parametrize("data", [b"\x0b", b"\x08" + b"\xff" * 11, b"\x12\x7f"])
def test_nonsense_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        list(fields(data))
