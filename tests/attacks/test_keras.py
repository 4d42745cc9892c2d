"""Keras files that lie: zips, configs, weights. Each ends in a clean refusal, quickly; no code in a file ever runs."""

from __future__ import annotations

import base64
import io
import json
import marshal
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from hostile import cuts, flips, road

h5py = pytest.importorskip("h5py")


def layer(kind: str, name: str, *reads: str, **config: Any) -> dict[str, Any]:
    nodes = [[[item, 0, 0, {}] for item in reads]] if reads else []
    return {"class_name": kind, "name": name, "config": {"name": name, "trainable": True, **config}, "inbound_nodes": nodes}


def model(*layers: dict[str, Any], output: Any = None, name: str = "m") -> dict[str, Any]:
    whole = [layer("InputLayer", "x", batch_input_shape=[None, 3]), *layers]
    outputs = output or [[whole[-1]["name"], 0, 0]]
    config = {"name": name, "layers": whole, "input_layers": [["x", 0, 0]], "output_layers": outputs}
    return {"class_name": "Functional", "name": name, "config": config, "inbound_nodes": []}


def h5(config: Any, weights: dict[str, Any] | None = None, text: str | None = None) -> bytes:
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file.attrs["model_config"] = text if text is not None else json.dumps(config)
        file.attrs["keras_version"] = "2.9.0"
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = np.array(list(weights or {}) or [b""], "S")[: len(weights or {})]
        for name, arrays in (weights or {}).items():
            inner = group.create_group(name)
            inner.attrs["weight_names"] = np.array([f"w{number}" for number in range(len(arrays))], "S")
            for number, array in enumerate(arrays):
                inner[f"w{number}"] = array
    return stream.getvalue()


def sound() -> bytes:
    """A small model that opens."""
    rng = np.random.default_rng(0)
    config = model(layer("Dense", "a", "x", units=4, activation="relu"), layer("Dense", "b", "a", units=2))
    shapes = {"a": [(3, 4), (4,)], "b": [(4, 2), (2,)]}
    return h5(config, {name: [rng.random(shape, np.float32) for shape in item] for name, item in shapes.items()})


def refused(tmp_path: Path, data: bytes, name: str = "m.h5") -> str:
    path = tmp_path / name
    path.write_bytes(data)
    error = road(path)
    assert error is not None
    return str(error)


def test_cuts_and_flips(tmp_path: Path) -> None:
    data = sound()
    path = tmp_path / "m.h5"
    path.write_bytes(data)
    assert road(path) is None
    for case in (*cuts(data), *flips(data, 200)):
        path.write_bytes(case)
        road(path)


def deep(depth: int) -> dict[str, Any]:
    inner = model(layer("Flatten", "f", "x"))
    for _ in range(depth):
        inner = model({**inner, "name": "inner", "inbound_nodes": [[["x", 0, 0, {}]]]})
    return inner


def doubling(depth: int) -> dict[str, Any]:
    """Each level calls the one below twice."""
    inner = model(layer("Flatten", "f", "x"))
    for _ in range(depth):
        inner = model(
            {**inner, "name": "inner", "inbound_nodes": [[["x", 0, 0, {}]], [["inner", 1, 0, {}]]]},
            output=[["inner", 2, 0]],
        )
    return inner


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (model(layer("Flatten", "f", "g"), layer("Flatten", "g", "f")), "waits for its own result"),
        (model(layer("Flatten", "f", "f")), "waits for its own result"),
        (model(layer("Flatten", "f", "nowhere")), "not there"),
        (model(layer("Flatten", "f", "x"), output=[["f", 5, 0]]), "not there"),
        (model(layer("Flatten", "f", "x"), output=[["f", 0, 3]]), "fewer"),
        (model(layer("Flatten", "f", "x"), output=[["f", -1, 0]]), "not there"),
        (model(layer("Flatten", "x", "x")), "one name"),
        (model(layer("Dense", "d", "x", units=10**12)), "weights"),
        (model(layer("Dense", "d", "x", units="many")), "broken"),
        (deep(60), "nest deeper"), (doubling(30), "called over"),
        ({"class_name": "Sequential", "config": {"layers": []}}, "no layers"),
        ({"class_name": "Functional", "config": {"layers": 3, "output_layers": 4}}, ""),
        ({"class_name": "Functional", "config": None}, ""), ({}, ""),
        ({"class_name": "Sequential", "config": [3]}, ""),
        (model(layer("InputLayer", "y", batch_input_shape=[None, "wide"])), ""),
    ],
)  # fmt: skip
def test_configs_that_contradict_themselves(tmp_path: Path, config: Any, words: str) -> None:
    assert words in refused(tmp_path, h5(config))


@pytest.mark.parametrize("text", ["", "{", "[1]", "nonsense", "[" * 100_000, '{"a":' * 50_000, "NaN"])
def test_configs_that_are_no_json(tmp_path: Path, text: str) -> None:
    data = h5(None, text=text[:60_000] or " ")
    assert "broken or hostile" in refused(tmp_path, data)


def test_code_in_a_lambda_is_never_run(tmp_path: Path) -> None:
    """As the published attack does it: the bytecode of a function that writes a file."""
    mark = tmp_path / "mark"
    code = compile(f"open({str(mark)!r}, 'w')", "m", "eval")
    packed = base64.b64encode(marshal.dumps(code)).decode()
    old = model(layer("Lambda", "l", "x", function=[packed, None, None], function_type="lambda", module="os"))
    assert "Lambda 'l'" in refused(tmp_path, h5(old))
    new = {"class_name": "__lambda__", "config": {"code": packed, "defaults": None, "closure": None}}
    assert "Lambda 'l'" in refused(tmp_path, h5(model(layer("Lambda", "l", "x", function=new))))
    named = {**layer("system", "s", "x"), "module": "os", "registered_name": "os>system"}
    assert "system 's'" in refused(tmp_path, h5(model(named)))
    assert not mark.exists()


def archive(*members: tuple[str, bytes], how: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", how) as file:
        for name, data in members:
            file.writestr(name, data)
    return stream.getvalue()


WEIGHTS = ("model.weights.h5", h5({}))
META = ("metadata.json", b'{"keras_version": "3.4.0"}')
CONFIG = ("config.json", json.dumps(model(layer("Flatten", "f", "x"))).encode())


@pytest.mark.parametrize("how", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zips_stored_and_packed_open(tmp_path: Path, how: int) -> None:
    (tmp_path / "m.keras").write_bytes(archive(CONFIG, META, WEIGHTS, how=how))
    assert road(tmp_path / "m.keras") is None


def test_a_zip_that_unpacks_to_gigabytes(tmp_path: Path) -> None:
    bomb = archive(("config.json", b'{"a": "' + bytes(300 << 20)), META, WEIGHTS, how=zipfile.ZIP_DEFLATED)
    assert len(bomb) < 1 << 20
    assert "unpacks to" in refused(tmp_path, bomb, "m.keras")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_zips_that_lie(tmp_path: Path) -> None:
    good = archive(CONFIG, META, WEIGHTS)
    assert "one name" in refused(tmp_path, archive(CONFIG, META, WEIGHTS, CONFIG), "m.keras")
    locked = bytearray(good)
    locked[good.rindex(b"PK\1\2", 0, good.index(b"PK\1\2") + 4) + 8] |= 1
    assert "encrypted" in refused(tmp_path, bytes(locked), "m.keras")
    longer = bytearray(good)
    place = good.index(b"PK\1\2")
    for at in (20, 24):
        longer[place + at : place + at + 4] = (1 << 30).to_bytes(4, "little")
    assert "longer than the archive" in refused(tmp_path, bytes(longer), "m.keras")
    astray = bytearray(good)
    astray[place + 42 : place + 46] = (7).to_bytes(4, "little")
    assert "no header" in refused(tmp_path, bytes(astray), "m.keras")
    odd = bytearray(good)
    odd[place + 10] = 77
    assert "method 77" in refused(tmp_path, bytes(odd), "m.keras")


def test_zips_cut_and_flipped(tmp_path: Path) -> None:
    data = archive(CONFIG, META, WEIGHTS, how=zipfile.ZIP_DEFLATED)
    path = tmp_path / "m.keras"
    for case in (*cuts(data), *flips(data, 200)):
        path.write_bytes(case)
        road(path)


def test_names_outside_are_never_followed(tmp_path: Path) -> None:
    outside = archive(CONFIG, META, WEIGHTS, ("../../outside", b"x"), ("/etc/outside", b"x"))
    (tmp_path / "m.keras").write_bytes(outside)
    assert road(tmp_path / "m.keras") is None
    assert not (tmp_path.parent.parent / "outside").exists()
