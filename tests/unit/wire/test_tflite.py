"""TFLite bytes against Google's generated schema module and LiteRT itself."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bessemer.wire.errors import WireError
from bessemer.wire.tflite import read, schema, set_min_runtime_version, write
from bessemer.wire.tflite.records import (
    RECORDS,
    Buffer,
    LazyBytes,
    Model,
    Operator,
    OperatorCode,
    Options,
    QuantizationParameters,
    SubGraph,
    Tensor,
)

ROOT = Path(__file__).parents[3]
ASSETS = ROOT.parent / "shared" / "assets"
FILES = [f for f in sorted(ASSETS.rglob("*.tflite")) if "malformed" not in f.parts]
assets = pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)


def generator() -> Any:
    pytest.importorskip("ai_edge_litert")
    spec = importlib.util.spec_from_file_location("gen", ROOT / "scripts" / "gen_tflite_schema.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tables_and_enumerations_are_googles() -> None:
    gen = generator()
    enums, tables = gen.pieces()
    assert {t.__name__: tuple(gen.fields(t)) for t in tables} == schema.TABLES
    for enum in enums:
        values = {k: v for k, v in vars(enum).items() if isinstance(v, int)}
        ours = {k: int(v) for k, v in getattr(schema, enum.__name__).__members__.items()}
        assert ours == {gen.MEMBER.get(k, k): v for k, v in values.items()}
    for union in schema.UNIONS.values():
        assert {m.name for m in union} - {"NONE"} <= schema.TABLES.keys()


def test_record_defaults_are_the_schemas() -> None:
    for name, record in RECORDS.items():
        made = vars(record())
        for _, field, _, default in schema.TABLES[name]:
            assert field in made
            if default is not None and (name, field) != ("Model", "version"):
                assert made[field] == default, (name, field)


def runs(path: Path) -> list[bytes]:
    interpreter_module = pytest.importorskip("ai_edge_litert.interpreter")
    interpreter = interpreter_module.Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    rng = np.random.default_rng(7)
    for detail in interpreter.get_input_details():
        value = rng.integers(0, 100, detail["shape"])
        if np.issubdtype(detail["dtype"], np.floating):
            value = value / 100
        interpreter.set_tensor(detail["index"], value.astype(detail["dtype"]))
    interpreter.invoke()
    return [interpreter.get_tensor(d["index"]).tobytes() for d in interpreter.get_output_details()]


@assets
def test_rewritten_file_is_the_same_model(path: Path, tmp_path: Path) -> None:
    model, out = read(path), tmp_path / "out.tflite"
    assert write(model, out) == out.stat().st_size
    assert read(out) == model
    assert not model.unknown
    first = out.read_bytes()
    write(read(path), out)
    assert out.read_bytes() == first
    assert runs(out) == runs(path)


def test_google_reads_every_options_table(tmp_path: Path) -> None:
    """All options of both unions, every field off its default, through the generated object API."""
    generated = pytest.importorskip("ai_edge_litert.schema_py_generated")
    gen = generator()
    model = Model(operator_codes=[OperatorCode(builtin_code=200)], subgraphs=[SubGraph(name="main")])
    values = {"bool": True, "f32": 0.5, "str": "s", "[str]": ["a"], "[u8]": b"ab", "[bool]": (True,)}
    wanted = []
    unions = {"builtin_options": schema.BuiltinOptions, "builtin_options2": schema.BuiltinOptions2}
    for slot, union in unions.items():
        for member in [m for m in union if m]:
            fields = {}
            for _, name, kind, _ in schema.TABLES[member.name]:
                numbers = (0.25, 2) if kind == "[f32]" else (3, 1)
                fields[name] = values.get(kind, numbers if kind[0] == "[" else 5)
            made = Operator(**{slot: Options(member.name, fields)})
            model.subgraphs[0].operators.append(made)
            wanted.append((slot, fields))
    out = tmp_path / "all.tflite"
    write(model, out)
    theirs = generated.ModelT.InitFromPackedBuf(out.read_bytes())
    assert theirs.operatorCodes[0].deprecatedBuiltinCode == 127
    assert theirs.operatorCodes[0].builtinCode == 200
    ours = read(out).subgraphs[0].operators
    for (slot, fields), got, mine in zip(wanted, theirs.subgraphs[0].operators, ours, strict=True):
        parsed = got.builtinOptions if slot == "builtin_options" else got.builtinOptions2
        seen = {gen.snake(k): v for k, v in vars(parsed).items()}
        assert getattr(mine, slot).fields == fields
        for name, value in fields.items():
            stored = seen[name]
            stored = stored.decode() if isinstance(stored, bytes) and isinstance(value, str) else stored
            if isinstance(value, tuple | bytes | list):
                have = [x.decode() if isinstance(x, bytes) else x for x in stored]
                assert have == list(value), (mine, name)
            else:
                assert stored == value, (mine, name)


def small(data: Any) -> Model:
    quantization = QuantizationParameters(scale=(0.5,), zero_point=(3,))
    tensor = Tensor(shape=(4,), type=9, buffer=1, name="weights", quantization=quantization)
    return Model(buffers=[Buffer(), Buffer(data)], subgraphs=[SubGraph(tensors=[tensor])])


def test_buffers_are_aligned_and_may_be_lazy(tmp_path: Path) -> None:
    out, again = tmp_path / "a.tflite", tmp_path / "b.tflite"
    write(small(LazyBytes(4, lambda: b"abcd")), out)
    write(small(np.frombuffer(b"abcd", np.int8)), again)
    assert out.read_bytes() == again.read_bytes()
    assert out.read_bytes().index(b"abcd") % 64 == 0
    assert bytes(read(out).buffers[1].view()) == b"abcd"


def test_two_gib_is_refused_with_numbers_and_nothing_is_written(tmp_path: Path) -> None:
    out = tmp_path / "big.tflite"
    with pytest.raises(WireError, match=r"weights: 3,000,000,000 bytes"):
        write(small(LazyBytes(3_000_000_000, bytes)), out)
    assert not list(tmp_path.iterdir())


def test_a_number_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    model = small(b"abcd")
    model.subgraphs[0].tensors[0].shape = (2**40,)
    with pytest.raises(WireError, match="does not fit"):
        write(model, tmp_path / "x.tflite")


def test_min_runtime_version(tmp_path: Path) -> None:
    model = small(b"abcd")
    set_min_runtime_version(model, "2.10.0")
    set_min_runtime_version(model, "2.11.0")
    write(model, tmp_path / "x.tflite")
    again = read(tmp_path / "x.tflite")
    assert bytes(again.buffers[again.metadata[0].buffer].view()) == b"2.11.0".ljust(16, b"\0")


def test_bytes_past_the_flatbuffer(tmp_path: Path) -> None:
    """Buffer.offset and size, as files above 2 GiB use them, written by Google's own code."""
    generated = pytest.importorskip("ai_edge_litert.schema_py_generated")
    flatbuffers = pytest.importorskip("flatbuffers")
    model = generated.ModelT(version=3, buffers=[generated.BufferT(offset=4096, size=5)])
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    raw = bytes(builder.Output()).ljust(4096, b"\0") + b"hello"
    assert bytes(read(raw).buffers[0].view()) == b"hello"
    with pytest.raises(WireError, match="past the end"):
        read(raw[:-1])
