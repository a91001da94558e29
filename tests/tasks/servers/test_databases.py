"""The databases that a new home gets by copying are those that Prefect and MLflow would make."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tasks.home.settings import TrackingAddress
from tasks.servers import databases
from tasks.servers.databases import copy_empty_database, empty_database, make_empty_databases
from tasks.tracking.client import StoreClient, experiment_id_of

PACKAGES = ("prefect", "mlflow")


def content(path: Path) -> set[tuple[object, ...]]:
    """Tables with their columns, indices, triggers, and the last migration; foreign keys come in any order."""
    with closing(sqlite3.connect(path)) as database:
        made = set(database.execute("select type, name from sqlite_master"))
        tables = sorted(name for kind, name in made if kind == "table")
        columns = {(table, *row[1:]) for table in tables for row in database.execute(f"pragma table_info('{table}')")}
        return made | columns | set(database.execute("select 'migration', version_num from alembic_version"))


@pytest.mark.parametrize("package", PACKAGES)
def test_what_is_there_is_never_written_over(package: str, tmp_path: Path) -> None:
    there = tmp_path / "home" / f"{package}.db"
    assert copy_empty_database(package, there)
    assert content(there) == content(empty_database(package))
    there.write_bytes(b"a user's")
    assert copy_empty_database(package, there)
    assert there.read_bytes() == b"a user's"


@pytest.mark.parametrize("copied", [True, False])
def test_a_new_store_knows_its_own_place_alone(copied: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIGPT_HOME", str(tmp_path / "home"))
    expected = content(empty_database("mlflow"))
    if not copied:  # as after an upgrade of MLflow alone
        monkeypatch.setattr(databases, "DATABASES_FOLDER", tmp_path / "nothing")
    tracking = TrackingAddress(tracking_uri=f"sqlite:///{tmp_path / 'home' / 'mlflow.db'}", experiment="first")
    client = StoreClient(tracking)
    experiment_id_of(client, tracking)
    experiments = client.search_experiments()
    assert {experiment.name for experiment in experiments} == {"Default", "first"}
    assert client.get_experiment_by_name("first").artifact_location == (tmp_path / "home" / "runs").as_uri()
    assert content(tmp_path / "home" / "mlflow.db") == expected


@pytest.mark.slow
def test_they_are_what_the_installed_packages_make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {package: content(empty_database(package)) for package in PACKAGES}
    monkeypatch.setattr(databases, "DATABASES_FOLDER", tmp_path / "made anew")
    make_empty_databases()
    assert installed == {package: content(empty_database(package)) for package in PACKAGES}
