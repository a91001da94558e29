"""The first use of a new home's MLflow store: its tables come in many steps."""

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tasks.home.settings import TrackingAddress
from tasks.servers import databases
from tasks.tracking.client import StoreClient, experiment_id_of
from tests.faults.tiny import FORKS

SECONDS = 3.0


def use(place: Path) -> None:
    databases.DATABASES_FOLDER = place / "none"  # so that MLflow makes its own, step by step
    there = TrackingAddress(tracking_uri=f"sqlite:///{place / 'mlflow.db'}", experiment="Default")
    experiment_id_of(StoreClient(there), there)


@pytest.mark.trials(default=2, whole=30)
def test_first_use(trial: int, tmp_path: Path, source: random.Random) -> None:
    """SIGKILL of one of four processes that make MLflow's store at once: the others, and one more, can use it"""
    processes = [FORKS.Process(target=use, args=(tmp_path,)) for _ in range(4)]
    for process in processes:
        process.start()
    processes[0].join(source.uniform(0, SECONDS))
    processes[0].kill()
    for process in processes[1:]:
        process.join(60)
        assert process.exitcode == 0
    again = FORKS.Process(target=use, args=(tmp_path,))
    again.start()
    again.join(60)
    assert again.exitcode == 0
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        assert database.execute("pragma integrity_check").fetchone() == ("ok",)
    assert not list(tmp_path.glob("*.tmp"))
