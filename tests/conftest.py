"""Fixtures that every test may use."""

from pathlib import Path

import pytest
from tiny import make_tiny


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder beside the checkout with golden numbers and a little real video; not part of the repository."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("no ../shared beside the checkout: golden numbers and real video are not part of the repository")
    return folder


@pytest.fixture
def tiny(tmp_path):
    """A tiny benchmark with three models' masks, made for this test alone."""
    return make_tiny(tmp_path)
