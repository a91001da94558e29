"""A local store that MLflow does not open: one sentence, in whole words."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from minigpt.errors import InputError
from tasks.home.settings import TrackingSettings
from tasks.servers.databases import copy_empty_database
from tasks.tracking.client import StoreClient


@pytest.mark.parametrize(
    "change",
    ["update alembic_version set version_num = '0a8213491aaa'", "update alembic_version set version_num = 'future'"],
)
def test_a_store_of_another_mlflow_is_refused_in_one_sentence(change: str, tmp_path: Path) -> None:
    copy_empty_database("mlflow", tmp_path / "x.db")
    with closing(sqlite3.connect(tmp_path / "x.db")) as database, database:
        database.execute(change)
    with pytest.raises(InputError, match=r"^[^\n]+$") as error:
        StoreClient(TrackingSettings(tracking_uri=f"sqlite:///{tmp_path}/x.db").address())
    said = str(error.value)
    assert said.startswith(f"the tracking store {tmp_path}/x.db cannot be opened (")
    reason = said.partition("(")[2].partition("); repair it")[0]
    assert reason.endswith((" …", ".", "!", "'", ")")), reason
