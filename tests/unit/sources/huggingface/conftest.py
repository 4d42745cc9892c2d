"""Small random models, made and converted in this one process: torch and transformers are imported once."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[4]
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "critical")


def _tiny() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tiny_transformers", ROOT / "bench/tiny_transformers.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["tiny_transformers"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The directory of a small model by its name in the bench, made once."""
    pytest.importorskip("transformers")
    made: dict[str, Path] = {}
    module, folder = _tiny(), tmp_path_factory.mktemp("tiny")

    def directory(name: str) -> Path:
        if name not in made:
            made[name] = module.make(name, folder)
        return made[name]

    return directory
