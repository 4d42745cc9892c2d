"""Shared fixtures: real models beside the checkout, skipped cleanly where absent."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent
ASSETS = Path(os.environ.get("BESSEMER_ASSETS", ROOT.parent / "shared" / "assets"))

settings.register_profile(
    "bessemer", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
settings.load_profile("bessemer")


def asset(name: str) -> Path:
    """Path of a real model or data file; skips the test where the collection is absent."""
    path = ASSETS / name
    if not path.exists():
        pytest.skip(f"the asset {name} is not beside this checkout")
    return path


@pytest.fixture
def real_asset() -> Callable[[str], Path]:
    """`asset` for test modules (they cannot import this file)."""
    return asset
