"""The MLflow store: creates a local one, connects with short timeouts, and raises its errors as StoreError."""

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

# MLflow reads this variable at each request.
TIMEOUT_VARIABLE, TIMEOUT_SECONDS = "MLFLOW_HTTP_REQUEST_TIMEOUT", 20
# A server that forwards an upload to its own artifact store answers only when that store has the file.
SLOWEST_UPLOAD_BYTES_PER_SECOND = 1_000_000


class StoreError(FailedError):
    """A request to the tracking store failed. Nothing is lost: the run's folder still has the data."""


class NoStoreError(StoreError, InputError):
    """The store or its artifact folder is missing: an InputError when a run starts, a FailedError later."""


@contextlib.contextmanager
def store_errors(address: TrackingAddress) -> Iterator[None]:
    """Raise any error of MLflow, the network or a store's folder as a StoreError."""
    try:
        yield
    except (mlflow.exceptions.MlflowException, OSError) as error:  # requests' errors are OSErrors
        raise StoreError(f"the tracking store at {address.shown} failed ({on_one_line(error)})") from error


class StoreClient:
    """MLflow's client for one address. Every error is raised as a StoreError.

    It gives up on a dead server within seconds instead of minutes, and prints nothing. A missing local store is
    created.
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
    """Open MLflow's client; raise NoStoreError for a local store it cannot open, such as one of another version."""
    try:
        return MlflowClient(address.tracking_uri)
    except (mlflow.exceptions.MlflowException, sqlalchemy.exc.SQLAlchemyError) as error:
        if not address.is_local:
            raise
        raise NoStoreError(
            f"the tracking store {_path(address)} cannot be opened ({on_one_line(error)}); repair it, or choose "
            "another with --tracking-uri, MLFLOW_TRACKING_URI or mlflow.yaml"
        ) from error


@contextlib.contextmanager
def patience_for(size_bytes: int) -> Iterator[None]:
    """Extend the request timeout for an upload of this size, unless the user has set a timeout."""
    before = os.environ.get(TIMEOUT_VARIABLE)
    if before in (None, str(TIMEOUT_SECONDS)):
        os.environ[TIMEOUT_VARIABLE] = str(TIMEOUT_SECONDS + size_bytes // SLOWEST_UPLOAD_BYTES_PER_SECOND)
    try:
        yield
    finally:
        os.environ[TIMEOUT_VARIABLE] = before or str(TIMEOUT_SECONDS)


def _path(address: TrackingAddress) -> Path:
    return Path(address.tracking_uri.removeprefix("sqlite:///"))


def is_made(address: TrackingAddress) -> bool:
    """True if the store exists; a server always counts as existing."""
    return not address.is_local or _path(address).exists()


def make_local_store(address: TrackingAddress) -> None:
    """Create a local store ahead of time. Errors are ignored here, because the run that needs it meets them again."""
    if address.is_local:
        with contextlib.suppress(StoreError):
            StoreClient(address)


def _make_store(path: Path) -> None:
    """Create MLflow's database under a temporary name and rename it when complete.

    MLflow creates its tables in many steps, which a kill or a second process would break.
    """
    if path.exists():
        return
    if path.parent == home():
        make_folder(home())
    elif not path.parent.exists():
        raise NoStoreError(
            f"the folder {path.parent} of the tracking store {path.name} does not exist; {_link_from(path.parent)}"
        )
    with FileLock(path.with_name(f".{path.name}.lock")):
        if not copy_empty_database("mlflow", path):
            unfinished = path.with_name(f".{path.name}.tmp")
            unfinished.unlink(missing_ok=True)
            MlflowClient(f"sqlite:///{unfinished}")
            unfinished.rename(path)


def _link_from(old_home: Path) -> str:
    parent, old, new = (shlex.quote(str(path)) for path in (old_home.parent, old_home, home()))
    """Say how to make a missing folder reachable, as the end of an error."""
    return f"create it, or if this home was moved from there, link it: `mkdir -p {parent} && ln -s {new} {old}`"


def check_files_are_there(runs: Path) -> None:
    """Raise NoStoreError if artifacts would go to a home that was moved away, instead of creating that home again."""
    if runs.name == runs_folder().name and not runs.parent.exists():
        raise NoStoreError(
            f"the folder {runs.parent}, where MLflow keeps files, does not exist; {_link_from(runs.parent)}"
        )


def local_path(uri: str) -> Path | None:
    """The path of a file URI or absolute path; None if the artifacts are not on this machine."""
    if uri.startswith("file://"):
        return Path(unquote(urlsplit(uri).path))
    return Path(uri) if uri.startswith("/") else None


def experiment_id_of(client: StoreClient, address: TrackingAddress) -> str:
    """The id of the address's experiment, which is created if missing.

    An experiment of a local store keeps its artifacts in the runs' own folders. Raises InputError if the experiment
    is deleted, and NoStoreError if its artifact folder is missing.
    """
    if known := known_experiment_id(client, address):
        kept = local_path(client.get_experiment(known).artifact_location)
        if address.is_local and kept is not None:
            check_files_are_there(kept)
        return known
    location = runs_folder().as_uri() if address.is_local else None
    try:
        return str(client.create_experiment(address.experiment, artifact_location=location))
    except StoreError:
        if known := known_experiment_id(client, address):  # another process created it first
            return known
        raise


def known_experiment_id(client: StoreClient, address: TrackingAddress) -> str | None:
    """The id of the address's experiment; None if there is none. Raises InputError if it is deleted."""
    if (experiment := client.get_experiment_by_name(address.experiment)) is None:
        return None
    if experiment.lifecycle_stage != "active":
        raise InputError(
            f"the MLflow experiment {address.experiment!r} is deleted; restore it or choose another with --experiment"
        )
    return str(experiment.experiment_id)
