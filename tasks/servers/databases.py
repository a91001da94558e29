"""Databases of Prefect and MLflow with nothing in them, made at installation: `python -m tasks.servers.databases`.

Their tables come in a hundred steps, which take each new home 10 s; a copy takes none. Where there is no copy for the
installed versions, Prefect and MLflow make their own, as they do without us.
"""

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from minigpt.io.store import write_atomically
from tasks.home.process import python_environment

DATABASES_FOLDER = Path(sys.prefix) / "share" / "minigpt"


def empty_database(package: str) -> Path:
    """Where the empty database of the installed version of a package lies, if it was made."""
    return DATABASES_FOLDER / f"{package}-{version(package)}.db"


def copy_empty_database(package: str, path: Path) -> bool:
    """Put the empty database there, whole or not at all, unless something is there; whether one is there now."""
    empty = empty_database(package)
    if not path.exists() and empty.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, empty.read_bytes())
    return path.exists()


def make_empty_databases() -> None:
    """Make both anew by the packages' own means."""
    shutil.rmtree(DATABASES_FOLDER, ignore_errors=True)
    DATABASES_FOLDER.mkdir(parents=True)
    with TemporaryDirectory() as place:
        inherited = {
            name: value for name, value in python_environment().items() if not name.startswith(("PREFECT_", "MLFLOW_"))
        }
        home = {**inherited, "PREFECT_HOME": place, "DO_NOT_TRACK": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}
        # The first store that opens MLflow's database makes an experiment in it, which knows where it was made.
        mlflow = f"from mlflow import MlflowClient; MlflowClient({f'sqlite:///{place}/mlflow.db'!r})"
        for command in (["-m", "prefect", "server", "database", "upgrade", "-y"], ["-c", mlflow]):
            subprocess.run([sys.executable, *command], env=home, cwd=place, check=True, capture_output=True)
        with closing(sqlite3.connect(Path(place) / "mlflow.db")) as database, database:
            database.execute("delete from experiments")
        for package in ("prefect", "mlflow"):
            write_atomically(empty_database(package), (Path(place) / f"{package}.db").read_bytes())


if __name__ == "__main__":
    make_empty_databases()
