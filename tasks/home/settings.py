"""Where runs are tracked: by flag, then MLFLOW_* environment variables, then mlflow.yaml, then built-in defaults."""

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

import httpx
import yaml
from pydantic import Field

from minigpt.config import Part
from minigpt.errors import InputError
from minigpt.io.yaml_text import what_is_wrong
from tasks.home.databases import database_problem
from tasks.home.folders import expanded, home

SETTINGS_FILE = "mlflow.yaml"
LOCAL_SCHEMES = ("sqlite", "file")

# Credential variables that this process set, with the address that each value came from.
_taken_from: dict[str, str] = {}


class ServerSettings(Part):
    mlflow_tracking_uri: str | None = None


class NameSettings(Part):
    name: str | None = None


class TrackingNames(Part):
    experiment: NameSettings = NameSettings(name="minigpt")
    run: NameSettings = NameSettings()


class UiSettings(Part):
    host: str = "127.0.0.1"
    port: int = Field(5000, ge=1, le=65_535)


class TrackingFile(Part):
    """The contents of mlflow.yaml, with the keys of kedro-mlflow."""

    server: ServerSettings = ServerSettings()
    tracking: TrackingNames = TrackingNames()
    ui: UiSettings = UiSettings()


class TrackingAddress(Part):
    """The MLflow store and experiment that a run belongs to."""

    tracking_uri: str
    """sqlite:///PATH or a tracking server's address, without a password."""
    experiment: str
    """Name of the MLflow experiment."""

    @property
    def is_local(self) -> bool:
        return self.tracking_uri.split(":")[0] in LOCAL_SCHEMES

    @property
    def shown(self) -> str:
        """The address for messages, without user and password."""
        return public_uri(self.tracking_uri)


class TrackingSettings(Part):
    """Where runs are tracked; null takes the value from the environment, mlflow.yaml or the defaults."""

    tracking_uri: str | None = None
    """MLflow's store: sqlite:///PATH or a tracking server's address."""
    experiment: str | None = None
    """Name of the MLflow experiment."""
    offline: bool = False
    """Write only the run's folder; `minigpt sync` sends it to MLflow later."""
    offline_if_unreachable: bool = False
    """Run offline if MLflow does not answer at the start, instead of refusing to start."""

    def resolved(self) -> "TrackingSettings":
        """The same settings with the address and the experiment filled in."""
        return self.model_copy(update=dict(self.address()))

    def check(self) -> None:
        """Raise InputError if the store does not answer, unless `offline` is set. Does not import MLflow."""
        if not self.offline:
            check_reachable(self.address())

    def address(self) -> TrackingAddress:
        """Resolve the store and the experiment from these settings, the environment, mlflow.yaml and the defaults.

        Moves a password in the store's address into MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.
        """
        file, environment = read_settings_file(), os.environ.get
        uri = self.tracking_uri or environment("MLFLOW_TRACKING_URI") or file.server.mlflow_tracking_uri
        experiment = self.experiment or environment("MLFLOW_EXPERIMENT_NAME") or file.tracking.experiment.name
        return TrackingAddress(
            tracking_uri=_absolute(_without_password(uri or f"sqlite:///{home() / 'mlflow.db'}")),
            experiment=experiment or "minigpt",
        )


class RunIdentity(Part):
    """The name of a new run, and the run that it repeats."""

    name: str | None = None
    """Name of the MLflow run; null takes MLFLOW_RUN_NAME, then the name in mlflow.yaml, then config name and time."""
    rerun_of: str | None = None
    """Id of the run that this one repeats."""

    def name_or(self, default: str) -> str:
        return self.name or os.environ.get("MLFLOW_RUN_NAME") or read_settings_file().tracking.run.name or default


def read_settings_file() -> TrackingFile:
    path = Path(SETTINGS_FILE)
    if not path.exists():
        return TrackingFile()
    try:
        return TrackingFile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(
            f"{path.resolve()} is not a valid mlflow.yaml: {what_is_wrong(error)}; compare it with minigpt's own"
        ) from error


def _absolute(uri: str) -> str:
    """Make the path of an SQLite address absolute. It is relative to the working directory, where mlflow.yaml is."""
    prefix = "sqlite:///"
    path = uri.removeprefix(prefix)
    return (
        f"{prefix}{expanded(path, 'the tracking address').resolve()}"
        if uri.startswith(prefix) and path != ":memory:"
        else uri
    )


def _without_password(uri: str) -> str:
    """Return the address without user and password, which go into the variables that MLflow's client reads."""
    shown, parts = public_uri(uri), urlsplit(uri)
    for name, value in (("MLFLOW_TRACKING_USERNAME", parts.username), ("MLFLOW_TRACKING_PASSWORD", parts.password)):
        if value and name not in os.environ:
            os.environ[name] = unquote(value)
            _taken_from[name] = shown
    return shown


def recall_password(uri: str) -> None:
    """Set the credentials of a stored address, which has none, from MLFLOW_TRACKING_URI or mlflow.yaml.

    Credentials taken from another address are removed first, so that no server receives those of another.
    """
    for name in [name for name, address in _taken_from.items() if address != uri]:
        del _taken_from[name]
        os.environ.pop(name, None)
    for named in (os.environ.get("MLFLOW_TRACKING_URI"), read_settings_file().server.mlflow_tracking_uri):
        if named and public_uri(named) == uri:
            _without_password(named)


def _user_and_password() -> tuple[str, str] | None:
    """The user and password that MLflow's own client would send; None unless both are set."""
    user, password = (os.environ.get(f"MLFLOW_TRACKING_{name}") for name in ("USERNAME", "PASSWORD"))
    return (user, password) if user and password else None


def public_uri(uri: str) -> str:
    """An address without user and password; raise InputError if it cannot be parsed."""
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise InputError("the tracking address cannot be parsed; give sqlite:///PATH or http(s)://HOST") from error
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if parts.netloc else uri


class UnreachableError(InputError):
    """A tracking server does not answer now, but may answer later."""


def check_reachable(address: TrackingAddress) -> None:
    """Check a tracking address before anything is written.

    Raises UnreachableError if the server does not answer, and InputError if no store can be at the address.
    """
    uri = address.tracking_uri
    scheme = uri.split(":")[0]
    if scheme in ("http", "https"):
        try:
            httpx.get(f"{uri.rstrip('/')}/health", timeout=10, auth=_user_and_password()).raise_for_status()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UnreachableError(
                f"no MLflow server answers at {address.shown} ({type(error).__name__}); start it, give another "
                "address with --tracking-uri, MLFLOW_TRACKING_URI or mlflow.yaml, or run without one with --offline"
            ) from error
    elif scheme == "sqlite":
        path = Path(uri.removeprefix("sqlite:///"))
        if problem := database_problem(path):
            raise InputError(
                f"the tracking store {path} {problem}; give another with --tracking-uri, MLFLOW_TRACKING_URI or "
                "mlflow.yaml, put it back from a copy, or run without one with --offline"
            )
    else:
        raise InputError(
            f"the tracking address {address.shown!r} is neither sqlite:///PATH nor http(s)://HOST; "
            "give one with --tracking-uri, MLFLOW_TRACKING_URI or mlflow.yaml"
        )
