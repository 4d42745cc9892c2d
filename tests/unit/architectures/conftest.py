"""The tiny models, made once for all modules here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.architectures import zoo


@pytest.fixture(scope="session")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Any]]:
    """Folders of save_pretrained by name, with transformers' logits for `zoo.TOKENS`."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    folder, made = tmp_path_factory.mktemp("zoo"), {}
    for name in zoo.MODELS:
        model = zoo.save(name, folder / name)
        with torch.no_grad():
            made[name] = (folder / name, model(torch.tensor([zoo.TOKENS])).logits[0].numpy())
    return made


@pytest.fixture(scope="session")
def saved(answers: dict[str, tuple[Path, Any]]) -> dict[str, Path]:
    """Folders of save_pretrained by name."""
    return {name: folder for name, (folder, _) in answers.items()}
