"""What tests of what is tracked share."""

from pathlib import Path

import pytest

from tasks.tracking_settings import Tracking


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tracking:
    """A home without runs, and its own store."""
    monkeypatch.setenv("MINIGPT_HOME", str(tmp_path))
    return Tracking(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db", experiment="minigpt")
