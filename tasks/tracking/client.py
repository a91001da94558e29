"""The MLflow store itself: made where it is a local file, reached with little patience, its errors in our words."""

import contextlib
import logging
import os
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import mlflow.exceptions
import sqlalchemy.exc
from filelock import FileLock
from mlflow import MlflowClient

from minigpt.errors import FailedError, InputError, on_one_line
from tasks.home.folders import home, make_folder, runs_folder
from tasks.home.settings import TrackingAddress
from tasks.servers.databases import copy_empty_database

# MLflow reads it at each request.
TIMEOUT_VARIABLE, TIMEOUT_SECONDS = "MLFLOW_HTTP_REQUEST_TIMEOUT", 20
# A server that hands a file on to a store of its own answers only when that has it.
SLOWEST_UPLOAD_BYTES_PER_SECOND = 1_000_000


class StoreError(FailedError):
    """The tracking store did not take or give what it was asked; the run's folder still has it."""


class NoStoreError(StoreError, InputError):
    """The store, or the folder of its files, is not where it should be: input at a run's start, later a failure."""


@contextlib.contextmanager
def store_errors(address: TrackingAddress) -> Iterator[None]:
    """Raise whatever MLflow, the network or a store's folder raises as a StoreError."""
    try:
        yield
    except (mlflow.exceptions.MlflowException, OSError) as error:  # requests' errors are OSErrors
        raise StoreError(f"the tracking store at {address.shown} failed ({on_one_line(error)})") from error


class StoreClient:
    """MLflow's client of one address, of which every error is a StoreError.

    It gives up on a dead server within seconds instead of minutes, and prints nothing. A local store is made if it is
    not there.
    """

    def __init__(self, address: TrackingAddress) -> None:
        self._address = address
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault(TIMEOUT_VARIABLE, str(TIMEOUT_SECONDS))
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        logging.getLogger("alembic").setLevel(logging.ERROR)
        with store_errors(address):
            if address.is_local:
                _make_store(_path(address))
            self._client = _opened(address)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self._client, name)

        def guarded(*arguments: Any, **options: Any) -> Any:
            with store_errors(self._address):
                return call(*arguments, **options)

        return guarded


def _opened(address: TrackingAddress) -> MlflowClient:
    """MLflow's own client; NoStoreError for a local store that it cannot open, such as one of another MLflow."""
    try:
        return MlflowClient(address.tracking_uri)
    except (mlflow.exceptions.MlflowException, sqlalchemy.exc.SQLAlchemyError) as error:
        if not address.is_local:
            raise
        raise NoStoreError(
            f"the tracking store {_path(address)} cannot be opened ({on_one_line(error)}); mend it, or give another "
            "with --tracking-uri, MLFLOW_TRACKING_URI or mlflow.yaml"
        ) from error


@contextlib.contextmanager
def patience_for(size_bytes: int) -> Iterator[None]:
    """The time for an answer that a file of this size may need, unless the user has set another."""
    theirs = os.environ.get(TIMEOUT_VARIABLE)
    if theirs in (None, str(TIMEOUT_SECONDS)):
        os.environ[TIMEOUT_VARIABLE] = str(TIMEOUT_SECONDS + size_bytes // SLOWEST_UPLOAD_BYTES_PER_SECOND)
    try:
        yield
    finally:
        os.environ[TIMEOUT_VARIABLE] = theirs or str(TIMEOUT_SECONDS)


def _path(address: TrackingAddress) -> Path:
    return Path(address.tracking_uri.removeprefix("sqlite:///"))


def is_made(address: TrackingAddress) -> bool:
    """True if the local store is there, and for every server."""
    return not address.is_local or _path(address).exists()


def make_local_store(address: TrackingAddress) -> None:
    """Make a local store before a run needs it; an error is left to that run."""
    if address.is_local:
        with contextlib.suppress(StoreError):
            StoreClient(address)


def _make_store(path: Path) -> None:
    """MLflow's database, whole or not there: its tables come in many steps, which a kill or a second process breaks."""
    if path.exists():
        return
    if path.parent == home():
        make_folder(home())
    elif not path.parent.exists():
        raise NoStoreError(
            f"there is no folder {path.parent} for the tracking store {path.name}; {_link_from(path.parent)}"
        )
    with FileLock(path.with_name(f".{path.name}.lock")):
        if not copy_empty_database("mlflow", path):
            unfinished = path.with_name(f".{path.name}.tmp")
            unfinished.unlink(missing_ok=True)
            MlflowClient(f"sqlite:///{unfinished}")
            unfinished.rename(path)


def _link_from(old_home: Path) -> str:
    parent, old, new = (shlex.quote(str(path)) for path in (old_home.parent, old_home, home()))
    return f"make it, or if this home was moved from there, link it: `mkdir -p {parent} && ln -s {new} {old}`"


def check_files_are_there(runs: Path) -> None:
    """Refuse to make a home's folder of runs again in the place that the home was moved from."""
    if runs.name == runs_folder().name and not runs.parent.exists():
        raise NoStoreError(f"there is no folder {runs.parent}, where MLflow keeps files; {_link_from(runs.parent)}")


def local_path(uri: str) -> Path | None:
    """Where an address of files leads, if they lie on this machine."""
    if uri.startswith("file://"):
        return Path(unquote(urlsplit(uri).path))
    return Path(uri) if uri.startswith("/") else None


def experiment_id_of(client: StoreClient, address: TrackingAddress) -> str:
    """The experiment by name, made if it is not there; a local one keeps its files in the runs' own folders."""
    if known := known_experiment_id(client, address):
        kept = local_path(client.get_experiment(known).artifact_location)
        if address.is_local and kept is not None:
            check_files_are_there(kept)
        return known
    location = runs_folder().as_uri() if address.is_local else None
    try:
        return str(client.create_experiment(address.experiment, artifact_location=location))
    except StoreError:
        if known := known_experiment_id(client, address):  # another run was faster
            return known
        raise


def known_experiment_id(client: StoreClient, address: TrackingAddress) -> str | None:
    """The same, where it is there; a deleted one is refused."""
    if (experiment := client.get_experiment_by_name(address.experiment)) is None:
        return None
    if experiment.lifecycle_stage != "active":
        raise InputError(
            f"the MLflow experiment {address.experiment!r} is deleted; restore it or choose another with --experiment"
        )
    return str(experiment.experiment_id)
