"""Recipes: keys are the dataclasses' fields, mistakes are named, what is written is read back."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from bessemer.ir.errors import UsageError
from bessemer.quantize.levels import Quantize
from bessemer.quantize.precision import LayerPrecision
from bessemer.script.recipe import asked, load, write

TEXT = """
[quantize]
method = "percentile"
percentile = 99
keep = ["Softmax", "head*"]

[[quantize.layers]]
match = "*"
weights = "int4"

[[quantize.layers]]
match = "stem/*"
weights = "int8"
activations = "int16"
"""


def recipe(folder: Path, text: str) -> Path:
    (folder / "mend.toml").write_text(text)
    return folder / "mend.toml"


def test_a_recipe_states_fields_and_leaves_the_others(tmp_path: Path) -> None:
    found = load(recipe(tmp_path, TEXT))
    assert asked(found, {}) == Quantize(
        method="percentile", percentile=99.0, keep=("Softmax", "head*"),
        layers=(LayerPrecision("*", "int4"), LayerPrecision("stem/*", "int8", "int16")),
    )  # fmt: skip
    assert set(found.quantize) == {"method", "percentile", "keep", "layers"}


def test_what_is_said_elsewhere_wins_and_overrides_follow(tmp_path: Path) -> None:
    how = asked(load(recipe(tmp_path, TEXT)), {"method": "mse", "layers": (LayerPrecision("head", "int8"),)})
    assert how.method == "mse"
    assert how.percentile == 99
    assert [item.match for item in how.layers] == ["*", "stem/*", "head"]


@pytest.mark.parametrize("name", [item.name for item in fields(Quantize) if item.name not in ("keep", "layers")])
def test_every_plain_field_is_a_key(name: str, tmp_path: Path) -> None:
    value = getattr(Quantize(), name)
    if value is None or isinstance(value, tuple):
        return
    text = write({name: value})
    assert load(recipe(tmp_path, text)).quantize == {name: value}


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    changes = {
        "keep": ('odd "name"\\', "größe"), "percentile": 99.5, "level": 1,
        "layers": (LayerPrecision("a[[]0]", "int4"), LayerPrecision("b", "", "float")),
    }  # fmt: skip
    assert load(recipe(tmp_path, write(changes, ["from a test"]))).quantize == changes


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[quantize]\nprecentile = 9", "has no key 'precentile'. Did you mean 'percentile'"),
        ("[[quantize.layers]]\nmacth = 'a'", "[quantize.layers.0] has no key 'macth'. Did you mean 'match'"),
        ("[quantise]\n", "no table 'quantise'. Did you mean 'quantize'"),
        ("[quantize]\npercentile = '99'", "quantize.percentile = '99' cannot be. Input should be a valid number"),
        ("[quantize]\nlevel = 1.5", "quantize.level = 1.5 cannot be"),
        ("[quantize]\nkeep = 'Softmax'", "quantize.keep = 'Softmax' cannot be"),
        ("[quantize]\nseed = 2020-01-01", "no option takes the date"),
        ("[quantize]\nmethod = 'best'", "mend.toml: There is no range method 'best'"),
        ("[[quantize.layers]]\nmatch = 'a'\nweights = 'int5'", "Did you mean 'int8'"),
        ("[[quantize.layers]]\nweights = 'int4'", "quantize.layers.0.match"),
        ("[quantize\n", "is no TOML"),
        ("quantize = 3", "cannot be"),
    ],
)
def test_mistakes_are_one_clear_error(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load(recipe(tmp_path, text))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load(tmp_path / "nowhere.toml")
    (tmp_path / "model.bin").write_bytes(b"\xff\xfe" * 9)
    with pytest.raises(UsageError, match="is no TOML"):
        load(tmp_path / "model.bin")
    (tmp_path / "large.toml").write_bytes(b"#" * (1 << 21))
    with pytest.raises(UsageError, match="is no recipe"):
        load(tmp_path / "large.toml")
