"""Hostile pickles, zips and programs of PyTorch: nothing runs, everything is named."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bessemer.ir.errors import BessemerError, UnreadableInput
from bessemer.opening import open_model
from bessemer.sources.base import OpenOptions
from bessemer.wire.errors import WireError
from bessemer.wire.torchzip import ForeignNames, read

WATCH = """
import sys
from pathlib import Path
from bessemer.opening import open_model
from bessemer.ir.errors import BessemerError
from bessemer.sources.base import OpenOptions
paths = [Path(line) for line in sys.stdin.read().splitlines()]
names = {"os.system", "subprocess.Popen", "exec", "socket.connect", "os.exec", "os.posix_spawn", "os.fork"}
foreign = {"webbrowser", "pty", "idlelib", "requests", "aiohttp", "httplib", "pip", "venv", "cProfile", "timeit", "torch"}
armed = []
def hook(event, args):
    own = event == "exec" and "/encodings/" in str(args[0])  # a codec of the standard library at its first use
    if armed and not own and (event in names or (event == "open" and args[1] and set(str(args[1])) & set("wax+"))
                  or (event == "import" and args[0].split(".")[0] in foreign)):
        print("EXECUTED", event, str(args)[:100], armed[-1], flush=True)
sys.addaudithook(hook)
from bessemer.wire.torchzip import read
from bessemer.wire.errors import WireError
from bessemer.sources.torch.weights import load
for path in paths:
    armed.append("reading")
    try:
        load(path)
        print("READ", path.name)
    except BessemerError as error:
        print("REFUSED", error.exit_code, path.name, str(error).replace(chr(10), " "))
    armed.clear()
"""


@pytest.fixture(scope="module")
def verdicts(request: pytest.FixtureRequest) -> dict[str, str]:
    """What a fresh interpreter, whose audit hook watches, says of every file of the collection."""
    assets = Path(os.environ.get("BESSEMER_ASSETS", Path(__file__).resolve().parents[2].parent / "shared" / "assets"))
    folder = assets / "security" / "picklescan"
    if not folder.exists():
        pytest.skip("the collection is not beside this checkout")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    command = [sys.executable, "-c", WATCH]
    done = subprocess.run(command, input="\n".join(map(str, files)), capture_output=True, text=True, timeout=120, check=True)
    lines = done.stdout.splitlines()
    assert not [line for line in lines if line.startswith("EXECUTED")]
    assert len(lines) == len(files)
    return {path.name: line for path, line in zip(files, lines, strict=True)}


def test_the_collection_runs_nothing_and_is_refused(verdicts: dict[str, str]) -> None:
    harmless = {"pytorch_model.bin", "new_pytorch_model.bin"}
    read_ = {name for name, line in verdicts.items() if line.startswith("READ")}
    assert read_ <= harmless
    assert {line.split()[1] for line in verdicts.values() if line.startswith("REFUSED")} == {"5"}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("malicious0.pkl", ["__builtin__.eval", "__builtin__.compile", "__builtin__.globals", "__builtin__.apply"]),
        ("malicious2_v4.pkl", ["posix.system"]),
        ("malicious8.pkl", ["subprocess.run"]),
        ("malicious12.pkl", ["operator.attrgetter", "builtins.__import__"]),
        ("malicious19.pkl", ["functools.partial", "torch.serialization.load"]),
        ("broken_model.pkl", ["builtins.exec", "it is broken"]),
        ("keyerror-exploit.pkl", ["os.system", "it is broken"]),
        ("type-confusion-exploit.pkl", ["os.system"]),
        ("pytorch_magic_bypass.pt", ["__builtin__.eval"]),
        ("malicious1_crc.zip", ["builtins.eval"]),
        ("malicious1.zip", ["builtins.eval"]),
        ("GHSA-jhph-76pp-mggw.pkl", ["torch.utils.collect_env.run_and_read_all", "torch.utils.collect_env.run"]),
        ("benign_password_protected.zip", ["encrypted"]),
        ("malicious1_central_directory.zip", ["another name"]),
    ],
)
def test_what_is_wrong_is_named(name: str, words: list[str], verdicts: dict[str, str]) -> None:
    assert all(word in verdicts[name] for word in words), verdicts[name]


class Bomb:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", range(6))
def test_a_payload_is_named_and_leaves_no_trace(protocol: int, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    with pytest.raises(ForeignNames) as error:
        read(pickle.dumps({"weights": [1, Bomb(f"touch {trace}")], "more": Bomb("true")}, protocol=protocol))
    assert error.value.names == ("posix.system",)
    assert not trace.exists()


def pickled(*instructions: bytes) -> bytes:
    return b"".join(instructions) + b"."


DEEP = b"\x80\x04" + b"]" * 200_000 + b"a" * 199_999 + b"."
PAIRS = b"".join(b"q%ch%ch%c\x86" % (place, place, place) for place in range(60))
"""(a, a) of (b, b) of (c, c) ...: two to the sixtieth steps for whoever hashes it."""
BOMBS = {
    "nested lists": DEEP,
    "a tuple whose hash never ends": b"\x80\x04}K\x01" + PAIRS + b"K\x01s.",
    "text longer than the file": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40) + b"abc.",
    "a number of a billion digits": b"\x80\x04\x8b" + struct.pack("<i", 1 << 30) + b"\xff.",
    "a negative length": b"\x80\x02T" + struct.pack("<i", -5) + b".",
    "an empty stack": pickled(b"\x80\x02R"),
    "no mark": pickled(b"\x80\x02t"),
    "an odd dict": pickled(b"\x80\x02}(K\x01u"),
    "a key that is a list": pickled(b"\x80\x02}]K\x01s"),
    "an unknown memo": pickled(b"\x80\x02h\x07"),
    "no STOP": b"\x80\x02K\x01",
    "an unknown instruction": b"\x80\x02\xff.",
    "a call of a number": pickled(b"\x80\x02K\x01)R"),
    "bytes of a petabyte": pickled(b"\x80\x04c__builtin__\nbytearray\nJ\xff\xff\xff\x7f\x85R"),
    "a buffer of elsewhere": pickled(b"\x80\x05\x97"),
    "more after the end": pickled(b"\x80\x02K\x01") + b"more",
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_of_the_stack_machine(name: str) -> None:
    with pytest.raises(WireError):
        state = read(BOMBS[name])
        state.tensors()


def test_lists_that_hold_themselves_end() -> None:
    looped: list[Any] = []
    looped.append(looped)
    with pytest.raises(WireError, match="deeper"):
        read(pickle.dumps(looped)).tensors()
    laughs: Any = []
    for _ in range(60):
        laughs = [laughs, laughs]
    with pytest.raises(WireError, match="values"):
        read(pickle.dumps(laughs)).tensors()


torch = pytest.importorskip("torch")


def members(value: Any) -> dict[str, bytes]:
    stream = io.BytesIO()
    torch.save(value, stream)
    with zipfile.ZipFile(stream) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(contents: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return stream.getvalue()


PLAIN = {"w": torch.ones(1000)}


def test_deflated_archives_are_read() -> None:
    state = read(packed(members(PLAIN), zipfile.ZIP_DEFLATED))
    assert state.tensors()[("w",)].numpy().sum() == 1000


def test_a_member_twice_a_short_storage_and_a_missing_one() -> None:
    held = members(PLAIN)
    lead = next(iter(held)).split("/")[0]
    with pytest.raises(WireError, match="should have 4000"):
        read(packed({**held, f"{lead}/data/0": bytes(10)}))
    with pytest.raises(WireError, match="does not hold"):
        read(packed({name: item for name, item in held.items() if not name.endswith("data/0")}))
    with pytest.raises(WireError, match="2 members data"):
        read(packed({**held, "other/data.pkl": b"."}))
    stream = io.BytesIO(packed(held))
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(stream, "a") as archive:
        archive.writestr(f"{lead}/data.pkl", b"N.")
    with pytest.raises(WireError, match="one name"):
        read(stream.getvalue())


def test_overlapping_members_wrong_checksums_and_bombs() -> None:
    data = bytearray(packed({"a/data.pkl": b"N.", "a/data/0": bytes(4000), "a/data/1": bytes(4000)}))
    directory = data.index(b"PK\x01\x02")
    entries = [at for at in range(directory, len(data)) if data[at : at + 4] == b"PK\x01\x02"]
    lying = bytearray(data)
    lying[entries[2] + 42 : entries[2] + 46] = lying[entries[1] + 42 : entries[1] + 46]
    with pytest.raises(WireError):
        read(bytes(lying))
    damaged = bytearray(packed(members(PLAIN)))
    damaged[damaged.index(struct.pack("<f", 1.0) * 8) + 2] ^= 1
    with pytest.raises(WireError, match="checksum"):
        read(bytes(damaged)).tensors()[("w",)].numpy()
    bomb = packed({"a/data.pkl": bytes(1 << 27)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(WireError, match="claim to be"):
        read(bomb)


def test_names_that_climb_are_names_and_nothing_else(tmp_path: Path) -> None:
    held = members(PLAIN)
    read(packed({**held, "../../evil.txt": b"x", "/etc/evil": b"y"}))
    assert not (tmp_path / "evil.txt").exists()


def views(shape: tuple[int, ...], strides: tuple[int, ...], offset: int) -> bytes:
    """A file whose tensor looks where it should not."""
    held = members({"w": torch.zeros(4, dtype=torch.float32)})
    lead = next(iter(held)).split("/")[0]

    class Storage:
        pass

    class Rebuilt:
        def __reduce__(self) -> tuple[Any, ...]:
            return torch._utils._rebuild_tensor_v2, (Storage(), offset, shape, strides, False, {})

    class Writer(pickle._Pickler):  # type: ignore[name-defined, misc]
        def persistent_id(self, item: Any) -> Any:
            return ("storage", torch.FloatStorage, "0", "cpu", 4) if isinstance(item, Storage) else None

    stream = io.BytesIO()
    Writer(stream, 2).dump({"w": Rebuilt()})
    return packed({**held, f"{lead}/data.pkl": stream.getvalue()})


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [((5,), (1,), 0), ((4,), (1,), 1), ((2,), (4,), 0), ((2,), (-1,), 1), ((2, 2), (1,), 0), ((-4,), (1,), 0),
     ((1 << 40,), (0,), 0), ((1 << 60, 4), (0, 1), 0), ((4,), (1,), -1), ((1,) * 40, (1,) * 40, 0)],
)  # fmt: skip
def test_tensors_stay_in_their_storage(shape: tuple[int, ...], strides: tuple[int, ...], offset: int) -> None:
    with pytest.raises(WireError):
        read(views(shape, strides, offset)).tensors()[("w",)].numpy()
    assert read(views((2, 2), (1, 2), 0)).tensors()[("w",)].numpy().shape == (2, 2)


class Doubled(torch.nn.Module):  # type: ignore[misc, name-defined]
    def forward(self, x: Any) -> Any:
        return x * 2 + x.shape[0]


@pytest.fixture(scope="module")
def program() -> dict[str, bytes]:
    stream = io.BytesIO()
    shapes = {"x": {0: torch.export.Dim("batch", min=2, max=9)}}
    torch.export.save(torch.export.export(Doubled(), (torch.ones(3, 2),), dynamic_shapes=shapes), stream)
    with zipfile.ZipFile(stream) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def changed(program: dict[str, bytes], change: Callable[[str], str]) -> dict[str, bytes]:
    return {
        name: change(content.decode()).encode() if name.endswith("models/model.json") else content
        for name, content in program.items()
    }


CHANGES: dict[str, Callable[[str], str]] = {
    "a command for an operator": lambda text: text.replace("torch.ops.aten.mul.Tensor", "torch.os.system"),
    "an operator that loads libraries": lambda text: text.replace("torch.ops.aten.mul.Tensor", "torch.ops.load_library"),
    "an operator that opens files": lambda text: text.replace("aten.mul.Tensor", "aten.from_file.default"),
    "a method caller": lambda text: text.replace("torch.ops.aten.mul.Tensor", "_operator.methodcaller"),
    "code for a size": lambda text: text.replace("Symbol('s", "__import__('os').system('true') or Symbol('s"),
    "an attribute in a size": lambda text: text.replace("Symbol('s", "Symbol.__class__.mro('s"),
    "a power without end": lambda text: text.replace("Symbol('s", "9**9**9**9*Symbol('s"),
    "a name that is code": lambda text: text.replace('"name": "x"', '"name": "x):\\n import os\\ndef f("'),
    "no JSON": lambda text: text[:-5],
}


@pytest.mark.parametrize("name", CHANGES)
def test_programs_that_would_run_code(
    name: str, program: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.export, "load", lambda *_, **__: pytest.fail("torch was given the file"))
    path = tmp_path / "evil.pt2"
    new = changed(program, CHANGES[name])
    if new == program:
        pytest.skip("this torch writes programs in other words")
    path.write_bytes(packed(new))
    with pytest.raises(BessemerError) as error:
        open_model(path, OpenOptions())
    assert error.value.exit_code in (3, 5)


def test_the_untouched_program_opens(program: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "good.pt2").write_bytes(packed(program))
    assert open_model(tmp_path / "good.pt2", OpenOptions()).signature.inputs[0].name == "x"


def test_programs_with_pickles_enumerations_or_machine_code(program: dict[str, bytes], tmp_path: Path) -> None:
    path, lead = tmp_path / "evil.pt2", next(iter(program)).split("/")[0]
    bad = pickle.dumps(Bomb(f"touch {tmp_path / 'trace'}"))
    model = next(name for name in program if name.endswith("models/model.json"))
    context = json.dumps({"default_factory_module": "antigravity"})
    tree = json.dumps([1, {"type": "collections.defaultdict", "context": context}])
    quoted = json.dumps([1, {"type": "builtins.dict", "context": json.dumps(["x'] or exec("]), "children_spec": []}])
    described = json.loads(program[model])
    described["graph_module"]["module_call_graph"][0]["signature"]["in_spec"] = tree
    for extra, word in (
        ({f"{lead}/data/sample_inputs/model.pt": bad}, "posix.system"),
        ({f"{lead}/data/constants/custom_obj_0": bad}, "posix.system"),
        ({model: json.dumps(described).encode()}, "import a module"),
        ({model: json.dumps({"in_spec": quoted}).encode()}, "which torch would compile"),
    ):
        path.write_bytes(packed({**program, **extra}))
        with pytest.raises(UnreadableInput, match=word):
            open_model(path, OpenOptions())
    path.write_bytes(packed({**program, f"{lead}/data/aotinductor/model/a.so": b"\x7fELF"}))
    with pytest.raises(BessemerError, match="machine code"):
        open_model(path, OpenOptions())
    assert not (tmp_path / "trace").exists()


def test_a_script_that_touches_files(tmp_path: Path) -> None:
    stream = io.BytesIO()
    torch.jit.save(torch.jit.trace(torch.nn.ReLU(), torch.ones(2, 2)), stream)
    with zipfile.ZipFile(stream) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    code = next(name for name in held if "/code/" in name and name.endswith(".py"))
    path = tmp_path / "evil.pt"
    path.write_bytes(packed({**held, code: held[code] + b"\n  _9 = torch.from_file('/etc/passwd')\n"}))
    with pytest.raises(UnreadableInput, match="from_file"):
        open_model(path, OpenOptions(shapes={"x": (2, 2)}))
