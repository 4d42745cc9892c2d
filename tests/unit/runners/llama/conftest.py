"""llama.cpp where it is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bessemer.runners import llama


@pytest.fixture
def libllama() -> Path:
    """The library's path; skips the test where there is none."""
    if not llama.available():
        pytest.skip("llama.cpp is not installed")
    return llama.find()


@pytest.fixture
def stories(libllama: Path, real_asset: Callable[[str], Path]) -> Iterator[llama.Llama]:
    """The trained stories260K in full precision."""
    with llama.Llama(real_asset("llm/stories260K/stories260K-f32.gguf")) as model:
        yield model
