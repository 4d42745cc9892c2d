"""PyTorch as a source: programs, scripts, modules, weights; each against torch itself."""

from __future__ import annotations

import io
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

import bessemer as bm  # noqa: E402
from bessemer.ir.errors import Declined, UnreadableInput, UsageError, VerificationFailed  # noqa: E402
from bessemer.ir.model import layer_of  # noqa: E402
from bessemer.opening import open_model  # noqa: E402
from bessemer.sources.base import OpenOptions, split_factory  # noqa: E402
from bessemer.sources.sniff import identify  # noqa: E402

NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.head = nn.Linear(width, 5)
        self.register_buffer("calls", torch.zeros(1), persistent=False)

    def forward(self, image, scale=1.0):
        self.calls += 1
        features = self.body(image) * scale
        return {"logits": self.head(features.mean((2, 3))) + self.calls, "maps": [features, features.amax(1)]}

def plain():
    return Net()

def fed():
    return Net(), torch.randn(2, 3, 8, 8), {"image": {0: torch.export.Dim("batch")}}

def wide():
    return Net(9), torch.randn(1, 3, 8, 8)

def broken():
    return Net(1 // 0)

def number():
    return 3

hinted = lambda: Net()
hinted.example_inputs = {"image": torch.randn(1, 3, 8, 8), "scale": 2.0}
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("nets") / "net.py"
    path.write_text(textwrap.dedent(NET))
    return path


@pytest.fixture(scope="module")
def net(file: Path) -> Any:
    from bessemer.sources.torch.factory import build

    return build(f"{file}:plain").module


def opened(path: Path, factory: str = "", **options: Any) -> Any:
    return open_model(path, OpenOptions(factory=factory or None, **options))


def signature(model: Any) -> list[str]:
    return [str(spec) for spec in (*model.signature.inputs, *model.signature.outputs)]


def test_a_factory_with_examples_and_free_axes(file: Path) -> None:
    model = opened(file, f"{file}:fed")
    assert signature(model) == [
        "image: float32[batch, 3, 8, 8]", "logits: float32[batch, 5]", "maps_0: float32[batch, 8, 8, 8]",
        "maps_1: float32[batch, 8, 8]",
    ]  # fmt: skip
    assert {layer_of(node) for node in model.graph.graph} >= {"body.0", "body.1", "body.2", "head"}
    assert not [key for node in model.graph.graph for key in node.metadata_props if key.startswith("pkg.torch")]
    assert any("forward writes into calls" in note for note in model.notes)


def test_shapes_make_examples_and_free_axes(file: Path) -> None:
    model = opened(file, f"{file}:plain", shapes={"image": ("n", 3, 16, (8, 32))})
    assert signature(model)[:2] == ["image: float32[n, 3, 16, image_3]", "logits: float32[n, 5]"]
    again = opened(file, f"{file}:hinted", shapes={"image": (4, 3, 6, 6)})
    assert signature(again)[0] == "image: float32[4, 3, 6, 6]"


def test_the_runner_is_the_module_and_starts_anew_each_time(file: Path, net: Any) -> None:
    runner = identify(file).load().runner(file, OpenOptions(factory=f"{file}:fed"))
    image = np.random.default_rng(0).normal(size=(3, 3, 8, 8)).astype(np.float32)
    first, second = runner.run({"image": image}), runner.run({"image": image})
    assert list(first) == ["logits", "maps_0", "maps_1"]
    assert all(np.array_equal(first[name], second[name]) for name in first)
    with torch.no_grad():
        net.calls.zero_()
        assert np.array_equal(first["logits"], net(torch.from_numpy(image))["logits"].numpy())
    assert runner.runtime.startswith("PyTorch ")


def test_values_between_the_layers_are_tapped(file: Path, net: Any, program: Path) -> None:
    image = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        wanted = net.body[0](image).numpy()
    for path, options in ((file, OpenOptions(factory=f"{file}:fed")), (program, OpenOptions())):
        names = {value.name for node in open_model(path, options).graph.graph for value in node.outputs}
        found = identify(path).load().runner(path, options).tap({"image": image.numpy()}, ["conv2d", "relu", "nothing"])
        assert list(found) == ["conv2d", "relu"]
        assert set(found) <= names
        assert np.allclose(found["conv2d"], wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        ("plain", "image would have to be guessed.*--shape image="),
        ("missing", "there is no 'missing'.*Net.*plain"),
        ("broken", "net.py line .*ZeroDivisionError"),
        ("number", "int, which is no module"),
        ("plain:", "names no function"),
    ],
)
def test_mistakes_in_factories_are_told(factory: str, words: str, file: Path) -> None:
    with pytest.raises(UsageError, match=words):
        opened(file, f"{file}:{factory}")


def test_a_python_file_alone_and_two_factories(file: Path) -> None:
    with pytest.raises(UsageError, match="which function in it"):
        opened(file)
    assert split_factory(Path(f"{file}:fed"), None) == (file, f"{file}:fed")
    assert split_factory(file, "x.py:y") == (file, "x.py:y")
    with pytest.raises(UsageError, match="Name one"):
        split_factory(Path(f"{file}:fed"), "x.py:y")
    with pytest.raises(UsageError, match="is no input of it"):
        opened(file, f"{file}:plain", shapes={"image": (1, 3, 8, 8), "picture": (1,)})


def saved(value: Any, path: Path, **options: Any) -> Path:
    torch.save(value, path, **options)
    return path


def states(net: Any) -> dict[str, Any]:
    state = net.state_dict()
    counted = {name: item for name, item in state.items() if "num_batches" not in name}
    return {
        "plain": state,
        "nested": {"epoch": 3, "state_dict": state, "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}},
        "parallel": {f"module.{name}": item for name, item in state.items()},
        "compiled": {"model": {f"module._orig_mod.{name}": item for name, item in state.items()}},
        "without counters": counted,
    }


@pytest.mark.parametrize("kind", ["plain", "nested", "parallel", "compiled", "without counters"])
@pytest.mark.parametrize("modern", [True, False])
def test_state_dicts_find_their_module(kind: str, modern: bool, file: Path, tmp_path: Path) -> None:
    from bessemer.sources.torch.factory import build

    torch.manual_seed(5)
    trained = build(f"{file}:fed").module
    for item in trained.state_dict().values():
        item.add_(torch.rand_like(item.float()).to(item.dtype))
    path = saved(states(trained)[kind], tmp_path / "w.pth", _use_new_zipfile_serialization=modern)
    model = opened(path, f"{file}:fed")
    weights = {name: item.const_value.numpy() for name, item in model.graph.graph.initializers.items() if item.const_value}
    assert np.array_equal(weights["head.weight"], trained.head.weight.detach().numpy())
    runner = identify(path).load().runner(path, OpenOptions(factory=f"{file}:fed"))
    image = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        trained.calls.zero_()
        assert np.array_equal(runner.run({"image": image.numpy()})["logits"], trained(image)["logits"].numpy())


def test_safetensors_in_half_precision_stay_half(file: Path, net: Any, tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    half = {name: item.half() if item.dtype == torch.float32 else item for name, item in net.state_dict().items()}
    safetensors.save_file(half, tmp_path / "w.safetensors")
    model = opened(tmp_path / "w.safetensors", f"{file}:fed")
    assert signature(model)[0] == "image: float16[batch, 3, 8, 8]"
    assert signature(model)[2] == "maps_0: float16[batch, 8, 8, 8]"


def test_what_does_not_fit_is_one_error(file: Path, net: Any, tmp_path: Path) -> None:
    state = dict(net.state_dict())
    state["tail.weight"] = state.pop("head.bias")
    path = saved(state, tmp_path / "w.pth")
    with pytest.raises(UsageError) as error:
        opened(path, f"{file}:wide")
    said = str(error.value)
    assert "1 missing in the file: head.bias" in said
    assert "1 unknown to the module: tail.weight" in said
    assert "of another shape: body.0.weight is [8, 3, 3, 3], the module's [9, 3, 3, 3]" in said


def test_two_sets_of_weights_are_chosen_between(file: Path, net: Any, tmp_path: Path) -> None:
    other = {name: item + 1 for name, item in net.state_dict().items()}
    path = saved({"model": net.state_dict(), "ema": other}, tmp_path / "w.pth")
    with pytest.raises(UsageError, match=r"'ema', 'model'.*--signature"):
        opened(path, f"{file}:fed")
    model = opened(path, f"{file}:fed", signature="ema")
    assert np.array_equal(model.graph.graph.initializers["head.bias"].const_value.numpy(), other["head.bias"].numpy())


def test_weights_without_a_factory_and_whole_modules(net: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"body.0.weight \[8, 3, 3, 3\].*--factory"):
        opened(saved(net.state_dict(), tmp_path / "w.pth"))
    with pytest.raises(Declined, match=r"torch.nn.modules.linear.Linear.*state_dict") as error:
        opened(saved(torch.nn.Sequential(torch.nn.Linear(2, 2)), tmp_path / "whole.pth"))
    assert "torch.nn.modules.container.Sequential" in {blocker.op for blocker in error.value.blockers}


@pytest.fixture(scope="module")
def program(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from bessemer.sources.torch.factory import build

    built = build(f"{file}:fed")
    assert built.examples is not None
    path = tmp_path_factory.mktemp("programs") / "net.pt2"
    made = torch.export.export(built.module, built.examples.args, dynamic_shapes=built.examples.dynamic)
    torch.export.save(made, path)
    return path


def test_a_program_keeps_its_free_axis_and_answers_as_its_runner(program: Path, file: Path) -> None:
    model = opened(program)
    assert signature(model)[:2] == ["image: float32[image_0, 3, 8, 8]", "logits: float32[image_0, 5]"]
    runner = identify(program).load().runner(program, OpenOptions())
    assert [spec.name for spec in runner.signature.inputs] == ["image"]
    image = np.random.default_rng(0).normal(size=(4, 3, 8, 8)).astype(np.float32)
    evidence = bm.convert(program, "ort", out=program.parent / "out", shapes={"image": [(1, 6), 3, 8, 8]})
    assert evidence.targets[0].verified
    assert runner.run({"image": image})["maps_1"].shape == (4, 8, 8)


def test_an_old_program_says_why_it_cannot_be_read(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "old.pt2", "w") as archive:
        archive.writestr("version", "1.1")
        archive.writestr("serialized_exported_program.json", "{}")
        archive.writestr("serialized_state_dict.json", "{}")
    with pytest.raises(UnreadableInput, match=r"cannot load.*Export it again"):
        opened(tmp_path / "old.pt2")


class Recurrent(torch.nn.Module):  # type: ignore[misc, name-defined]
    """Traced below."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Conv1d(2, 3, 3)

    def forward(self, x: Any) -> Any:
        return torch.relu(self.layer(x)), x.mean(2)


def test_a_script_runs_as_it_is_and_is_converted(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.jit.trace(Recurrent().eval(), torch.randn(1, 2, 9)).save(str(path))
    with pytest.raises(UsageError, match="--shape x="):
        opened(path)
    evidence = bm.convert(path, ["ort", "tflite"], out=tmp_path / "out", shapes={"x": [1, 2, 9]})
    assert [row.verified for row in evidence.targets] == [True, True], [row.summary for row in evidence.targets]
    runner = identify(path).load().runner(path, OpenOptions(shapes={"x": (1, 2, 9)}))
    assert runner.runtime.endswith("(TorchScript)")


def test_modules_in_python(tmp_path: Path) -> None:
    module = Recurrent()
    model = bm.load(module, example_inputs=torch.randn(2, 2, 9), dynamic_shapes={"x": {0: torch.export.Dim("batch")}})
    assert signature(model) == ["x: float32[batch, 2, 9]", "output_0: float32[batch, 3, 7]", "output_1: float32[batch, 2]"]
    assert module.training
    evidence = bm.convert(module, "ort", out=tmp_path, example_inputs={"x": torch.randn(2, 2, 9)})
    assert evidence.targets[0].verified
    assert (tmp_path / "Recurrent.ort.onnx").exists()
    with pytest.raises(UsageError, match="example_inputs"):
        bm.load(module)
    with pytest.raises(UsageError, match="neither a path nor"):
        bm.load(3)


class Moody(torch.nn.Module):  # type: ignore[misc, name-defined]
    def forward(self, x: Any) -> Any:
        return x if torch.compiler.is_exporting() else x + 1


class Exotic(torch.nn.Module):  # type: ignore[misc, name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Linear(3, 3)

    def forward(self, x: Any) -> Any:
        return torch.special.bessel_j0(self.inner(x)) + torch.linalg.svdvals(x)


class Deciding(torch.nn.Module):  # type: ignore[misc, name-defined]
    def forward(self, x: Any) -> Any:
        return x if x.sum() > 0 else -x


class Complex(torch.nn.Module):  # type: ignore[misc, name-defined]
    def forward(self, x: Any) -> Any:
        return torch.fft.fft(x)


def test_what_cannot_be_converted_says_all_reasons(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(VerificationFailed, match="output differs by up to 1"):
        bm.load(Moody(), example_inputs=torch.zeros(3))
    with pytest.raises(Declined) as error:
        bm.load(Exotic(), example_inputs=torch.randn(3, 3))
    assert {blocker.op for blocker in error.value.blockers} == {"prims.bessel_j0.default", "aten._linalg_svd.default"}
    with pytest.raises(Declined, match=r"data-dependent"):
        bm.load(Deciding(), example_inputs=torch.randn(3))
    with pytest.raises(Declined, match="complex"):
        bm.load(Complex(), example_inputs=torch.randn(4))
    assert capfd.readouterr() == ("", "")


class Borders(torch.nn.Module):  # type: ignore[misc, name-defined]
    """Inputs that are answered, answers that are equal, names that collide, containers in and out."""

    def forward(self, output: Any, states: Any, flag: bool = True, *, extra: Any = None) -> Any:
        total = output + states["h"] + (extra if flag else 0)
        return {"output": output, "add": total, "again": total, "none": None, "pair": (states["h"], total * 2)}


def test_borders_of_every_kind(tmp_path: Path) -> None:
    given = {"output": torch.ones(2), "states": {"h": torch.ones(2), "c": torch.zeros(1)}, "extra": torch.ones(2)}
    model = bm.load(Borders(), example_inputs=given)
    assert [spec.name for spec in model.signature.inputs] == ["output", "states_h", "states_c", "extra"]
    assert [spec.name for spec in model.signature.outputs] == ["output_2", "add", "again", "pair_0", "pair_1"]
    evidence = bm.convert(Borders(), "ort", out=tmp_path, example_inputs=given)
    assert evidence.targets[0].verified, evidence.targets[0].summary


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_half_weights_are_kept(kind: str, tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.GELU(), torch.nn.Linear(8, 2)).to(getattr(torch, kind))
    evidence = bm.convert(module, "ort", out=tmp_path, example_inputs=torch.randn(2, 4, dtype=getattr(torch, kind)))
    row = evidence.targets[0]
    assert row.status in ("executed", "declined"), row.summary
    assert row.verified or row.blockers
    assert evidence.source.inputs[0].dtype == kind


def test_weights_are_not_copied() -> None:
    module = torch.nn.Linear(512, 512)
    from bessemer.ir.model import Origin
    from bessemer.sources.torch.export import to_model

    model = to_model(module, (torch.randn(1, 512),), origin=Origin("torch", Path("x")))
    held = next(item for item in model.graph.graph.initializers.values() if item.shape == (512, 512))
    assert np.shares_memory(held.const_value.numpy(), module.weight.detach().numpy())


def test_the_command_line_takes_a_factory_for_a_model(file: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bessemer", "convert", f"{file}:fed", "--to", "ort", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "net.ort.onnx").exists()


def test_torch_files_are_recognised(tmp_path: Path, net: Any, program: Path) -> None:
    stream = io.BytesIO()
    torch.save(net.state_dict(), stream)
    (tmp_path / "noname").write_bytes(stream.getvalue())
    assert identify(tmp_path / "noname").name == "torch"
    assert identify(program).name == "torch"
    with pytest.raises(UsageError, match="no reference evaluator"):
        identify(program).load().runner(program, OpenOptions(original="reference"))


def test_an_exported_program_is_cut_at_its_nodes(tmp_path: Path) -> None:
    """The original shows its nodes' results; a script shows none, and the cut is declined, not made up."""
    layers = (torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 5))
    network = torch.nn.Sequential(*layers).eval()
    example = torch.randn(1, 3, 8, 8)
    path = tmp_path / "net.pt2"
    torch.export.save(torch.export.export(network, (example,)), path)
    (row,) = bm.convert(path, "onnx", tmp_path / "front", outputs="relu").targets
    assert row.verified, row.summary
    (row,) = bm.convert(path, "onnx", tmp_path / "back", inputs="relu").targets
    assert row.verified, row.summary
    scripted = tmp_path / "net.pt"
    torch.jit.trace(network, example).save(scripted)
    shapes = {"input": (1, 3, 8, 8)}
    name = next(value.name for node in bm.load(scripted, shapes=shapes).graph.graph for value in node.outputs)
    (row,) = bm.convert(scripted, "onnx", tmp_path / "no", outputs=name, shapes=shapes).targets
    assert (row.status, row.blockers[0].rule) == ("declined", "no-tap")
