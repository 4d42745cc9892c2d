"""The tiny models, made once for all modules here."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.architectures import zoo


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of save_pretrained by name."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("zoo")
    for name in zoo.MODELS:
        zoo.save(name, folder / name)
    return {name: folder / name for name in zoo.MODELS}
