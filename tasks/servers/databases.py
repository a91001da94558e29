"""Empty databases of Prefect and MLflow, created once at installation: `python -m tasks.servers.databases`.

Prefect and MLflow create their tables in many migration steps, which makes the first command of each new home slow;
copying an empty database is immediate. If there is none for the installed versions, they create their own as usual.
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
    """The path of the empty database for the installed version of a package, which may not exist."""
    return DATABASES_FOLDER / f"{package}-{version(package)}.db"


def copy_empty_database(package: str, path: Path) -> bool:
    """Copy the empty database to `path` atomically, unless a file is there already.

    Returns True if `path` exists afterwards.
    """
    empty = empty_database(package)
    if not path.exists() and empty.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, empty.read_bytes())
    return path.exists()


def make_empty_databases() -> None:
    """Create both databases with the packages' own commands, replacing earlier ones."""
    shutil.rmtree(DATABASES_FOLDER, ignore_errors=True)
    DATABASES_FOLDER.mkdir(parents=True)
    with TemporaryDirectory() as place:
        inherited = {
            name: value for name, value in python_environment().items() if not name.startswith(("PREFECT_", "MLFLOW_"))
        }
        home = {**inherited, "PREFECT_HOME": place, "DO_NOT_TRACK": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}
        # MLflow creates a default experiment when it first opens the database, and records the path of this folder.
        mlflow = f"from mlflow import MlflowClient; MlflowClient({f'sqlite:///{place}/mlflow.db'!r})"
        for command in (["-m", "prefect", "server", "database", "upgrade", "-y"], ["-c", mlflow]):
            subprocess.run([sys.executable, *command], env=home, cwd=place, check=True, capture_output=True)
        with closing(sqlite3.connect(Path(place) / "mlflow.db")) as database, database:
            database.execute("delete from experiments")
        for package in ("prefect", "mlflow"):
            write_atomically(empty_database(package), (Path(place) / f"{package}.db").read_bytes())


if __name__ == "__main__":
    make_empty_databases()
