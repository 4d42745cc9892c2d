"""Cutting ONNX graphs: names, borders, refusals; front and back of a random cut give the whole's answers, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import parser, save

from bessemer.ir.errors import UsageError
from bessemer.ir.model import Model
from bessemer.joining import members_of, plan, written
from bessemer.opening import open_model
from bessemer.passes.cut import cut
from bessemer.passes.named import Names
from bessemer.runners.graph import GraphRunner
from bessemer.sources.base import OpenOptions

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'
TWO = """net (float[N, 4] a, float[N, 4] b) => (float[N, 4] sum, float[N, 4] other) {
    p = Relu (a)
    q = Mul (p, p)
    r = Sigmoid (b)
    sum = Add (q, r)
    other = Neg (r)
}"""


def model_of(text: str, folder: Path, name: str = "m") -> tuple[Path, Model]:
    """A file, and the model read from it."""
    path = folder / f"{name}.onnx"
    save(parser.parse_model(HEAD + text), path)
    return path, open_model(path, OpenOptions())


def borders(model: Model) -> tuple[list[str], list[str]]:
    signature = model.signature
    return [spec.name for spec in signature.inputs], [spec.name for spec in signature.outputs]


def test_inputs_that_nobody_needs_any_more_vanish(tmp_path: Path) -> None:
    _, model = model_of(TWO, tmp_path)
    part = cut(model, (), ("q",))
    assert borders(part) == (["a"], ["q"])
    assert [node.op_type for node in part.graph.graph] == ["Relu", "Mul"]
    assert part.cut is not None
    assert (part.cut.taps.nodes, part.cut.taps.of) == (2, 5)
    assert borders(model) == (["a", "b"], ["sum", "other"]), "the model itself stays as it is"


def test_all_inputs_that_are_still_needed_are_told_at_once(tmp_path: Path) -> None:
    _, model = model_of(TWO, tmp_path)
    with pytest.raises(UsageError, match=r"'b' for sum, other"):
        cut(model, ("q",), ())
    with pytest.raises(UsageError, match=r"inputs that --inputs does not name.*'a' for sum; 'b' for sum"):
        cut(model, ("other",), ("sum",))
    assert borders(cut(model, ("q", "b"), ())) == (["q", "b"], ["sum", "other"])
    assert borders(cut(model, ("q", "r"), ("sum",))) == (["q", "r"], ["sum"])


def test_a_cut_that_means_nothing_is_refused(tmp_path: Path) -> None:
    _, model = model_of(TWO, tmp_path)
    for inputs, outputs, said in (
        ((), ("a",), "which is an input of the model"),
        (("q",), ("q",), "as an input and as an output"),
        (("q", "r"), ("other",), "'q', on which no output of the cut depends"),
        ((), ("summ",), "Near to it: sum"),
        ((), ("zzz",), "The model has 7 names"),
    ):
        with pytest.raises(UsageError, match=said):
            cut(model, inputs, outputs)


def test_a_constant_and_the_inside_of_a_branch_are_no_places_to_cut(tmp_path: Path) -> None:
    text = """net (bool c, float[2] x) => (float[2] y)
        <float[2] w = {1.0, 2.0}> {
        k = Add (x, w)
        y = If (c) <then_branch = yes () => (float[2] u) { u = Relu (k) },
                    else_branch = no () => (float[2] v) { v = Neg (k) }>
    }"""
    _, model = model_of(text, tmp_path)
    with pytest.raises(UsageError, match="constant of the model"):
        cut(model, (), ("w",))
    with pytest.raises(UsageError, match="inside a branch"):
        cut(model, (), ("u",))
    part = cut(model, ("c", "k"), ("y",))
    assert borders(part) == (["c", "k"], ["y"]), "a branch may read the border"


def test_names_of_nodes_mean_their_results(tmp_path: Path) -> None:
    import onnx

    path, _ = model_of(TWO, tmp_path)
    proto = onnx.load(path)
    for node in proto.graph.node:
        node.name = f"layer_{node.op_type.lower()}"
    onnx.save(proto, path)
    model = open_model(path, OpenOptions())
    assert borders(cut(model, (), ("layer_mul",)))[1] == ["q"]
    names = Names(model.graph.graph)
    assert [value.name for value in names.find("layer_sigmoid", "--outputs")] == ["r"]


def test_an_unknown_shape_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    text = """net (float[2, 3] x) => (float[A, B] z) {
        y = Strange (x)
        z = Relu (y)
    }""".replace("Strange", "com.microsoft.Strange")
    save(parser.parse_model('<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>\n' + text), path)
    with pytest.raises(UsageError, match="whose element type is unknown"):
        open_model(path, OpenOptions(inputs=("y",)))


def test_shapes_name_inputs_of_the_whole_or_of_the_cut(tmp_path: Path) -> None:
    path, _ = model_of(TWO, tmp_path)
    part = open_model(path, OpenOptions({"a": (3, 4)}, outputs=("q",)))
    assert part.signature.outputs[0].shape == (3, 4) or part.graph.graph.inputs[0].shape == [3, 4]
    with pytest.raises(UsageError, match="an input neither of the model nor of the cut"):
        open_model(path, OpenOptions({"c": (3, 4)}, outputs=("q",)))


def test_a_cut_of_a_cut_taps_the_original(tmp_path: Path) -> None:
    _, model = model_of(TWO, tmp_path)
    once = cut(model, ("p", "b"), ("sum",))
    twice = cut(once, (), ("q",))
    assert twice.cut is not None
    assert once.cut is not None
    assert [(tap.name, tap.tensor) for tap in twice.cut.taps.inputs] == [("p", "p")]
    assert twice.cut.whole is model


UNARY = ("Relu", "Neg", "Sigmoid", "Abs", "Identity")


@st.composite
def programs(draw: st.DrawFn) -> tuple[str, int, int]:
    """A graph of 3 to 12 nodes over [N, 3] with branches that read from outside; how many stand before the cut; a seed."""
    count = draw(st.integers(3, 12))
    known = ["a", "b"]
    lines = []
    for place in range(count):
        name = f"v{place}"
        x, y = draw(st.sampled_from(known)), draw(st.sampled_from(known))
        kind = draw(st.sampled_from(("unary", "Add", "Mul", "weight", "If")))
        if kind == "unary":
            lines.append(f"{name} = {draw(st.sampled_from(UNARY))} ({x})")
        elif kind == "weight":
            lines.append(f"{name} = Sub ({x}, w)")
        elif kind == "If":
            then, other = (f"{branch} () => (float[N, 3] {name}{branch}) {{ {name}{branch} = {op} }}"
                           for branch, op in (("t", f"Add ({x}, w)"), ("e", f"Mul ({x}, {y})")))  # fmt: skip
            lines.append(f"{name} = If (c) <then_branch = {then}, else_branch = {other}>")
        else:
            lines.append(f"{name} = {kind} ({x}, {y})")
        known.append(name)
    body = "\n".join(lines)
    text = f"""net (bool c, float[N, 3] a, float[N, 3] b) => (float[N, 3] v{count - 1}, float[N, 3] v{count - 2})
        <float[3] w = {{0.5, -1.0, 2.0}}> {{ {body} }}"""
    return text, draw(st.integers(1, count - 1)), draw(st.integers(0, 1000))


def answers(model: Model, fed: dict[str, Any]) -> dict[str, Any]:
    names = {spec.name for spec in model.signature.inputs}
    return GraphRunner(model.graph, optimize=False).run({name: item for name, item in fed.items() if name in names})


@given(programs())
@settings(max_examples=40)
def test_front_and_back_of_a_random_cut_are_the_whole(tmp_path_factory: pytest.TempPathFactory, drawn: Any) -> None:
    import onnx_ir

    text, split, seed = drawn
    folder = tmp_path_factory.mktemp("cut")
    _, whole = model_of(text, folder, "whole")
    rng = np.random.default_rng(seed)
    fed: dict[str, Any] = {name: rng.standard_normal((2, 3)).astype(np.float32) for name in "ab"}
    fed["c"] = np.array(bool(seed % 2))
    expected = answers(whole, fed)

    ends = [spec.name for spec in whole.signature.outputs]
    front_made = {f"v{place}" for place in range(split)}
    back = [f"v{place}" for place in range(split, len(list(whole.graph.graph))) if f"v{place}" in ends]
    if not back:
        return
    needed = _needed(whole, back, front_made)
    inner = [name for name in needed if name in front_made]
    later = cut(whole, needed, back) if needed else cut(whole, (), back)
    fed_later = dict(fed)
    if inner:
        earlier = cut(whole, (), inner)
        fed_later |= answers(earlier, fed)
    got = answers(later, fed_later)
    for name in back:
        np.testing.assert_array_equal(got[name], expected[name])
    if not inner:
        return
    for part, name in ((earlier, "front"), (later, "back")):
        onnx_ir.save(part.graph, folder / f"{name}.onnx")
    members = members_of([str(folder / "front.onnx"), str(folder / "back.onnx")], OpenOptions())
    same = [name for name in needed if name not in inner and name in {s.name for s in members[0].signature.inputs}]
    maps = [f"B:{name}=A:{name}" for name in (*inner, *same)]
    written(plan(members, maps, share=False, home=folder), folder / "both.join")
    both = open_model(folder / "both.join", OpenOptions())
    joined = answers(both, fed)
    for name in back:
        np.testing.assert_array_equal(joined[name], expected[name])


def _needed(model: Model, ends: list[str], front: set[str]) -> list[str]:
    """Inputs of the part behind the front, found by walking the text's own names."""
    from bessemer.passes.named import operands

    makers = {value.name: node for node in model.graph.graph for value in node.outputs}
    pending, found, seen = list(ends), list[str](), set[str]()
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in front or name in ("a", "b", "c"):
            found.append(name)
        elif name in makers:
            pending += [str(value.name) for value in operands(makers[name])]
    return found
