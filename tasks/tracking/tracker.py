"""The tracker of a command: built once and passed down.

An MlflowTracker talks to a store. An OfflineTracker leaves everything in the runs' folders, where `minigpt sync` finds
it. Callers never ask which of the two they have.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from minigpt.errors import InputError
from tasks.home.settings import (
    TrackingAddress,
    TrackingSettings,
    UnreachableError,
    check_reachable,
    recall_password,
)
from tasks.runs.files import TRACKING_FILE
from tasks.runs.names import find_local_run, match_run
from tasks.runs.run import Run, load_run, runs_here
from tasks.tracking.client import StoreError, is_made, make_local_store
from tasks.tracking.read import (
    TrackedRun,
    fetch_artifact,
    local_artifact,
    stored_points,
    tracked_runs,
)
from tasks.tracking.write import Point, attach_to_mlflow, create_in_mlflow, send_points, set_status

log = logging.getLogger(__name__)


class Tracker(Protocol):
    """Tracks runs for the duration of one command."""

    address: TrackingAddress

    def check(self) -> None:
        """Raise UnreachableError if the store does not answer, InputError if the address cannot be one of a store."""

    def prepare(self) -> None:
        """Create a local store ahead of time."""

    def create(self, run: Run) -> Run:
        """Create the run in the store; raise InputError if the store fails."""

    def attach(self, run: Run) -> Run:
        """Return the run with its ids in the store, where it is created if it was started offline.

        Raises InputError if the store fails.
        """

    def send_opening(self, run: Run) -> None:
        """Send the files that a rerun needs; a store that fails only causes a warning."""

    def send_points(self, run: Run, points: Sequence[Point]) -> bool:
        """Send points of curves; False if they must wait for `minigpt sync`. Raises StoreError."""

    def set_status(
        self, run: Run, mlflow_status: str, status: str, tags: Mapping[str, str], ended_ms: int | None
    ) -> bool:
        """Set the run's status and tags; False if the store failed. `ended_ms` is Unix time, None for now."""

    def finish(self, run: Run, curve: bool) -> None:
        """Send what the store does not have of a run that ended, with its curve if `curve` is True.

        A store that fails only causes a warning.
        """

    def reaches(self, run: Run) -> bool:
        """True if this tracker can send that run now."""

    def known_runs(self) -> list[Run]:
        """Every run, newest first. A run that is in the store and in this home is listed as the store has it."""

    def find(self, text: str) -> Run:
        """Find a run by id, name or `latest`; raise InputError if none matches."""

    def fetch(self, run: Run, name: str) -> Path:
        """The path of a run's file or folder; raise InputError if it is not available."""

    def stored_points(self, run: Run, keys: Iterable[str]) -> list[Point] | None:
        """Every point of these curves in the store; None if offline. Raises StoreError."""


class MlflowTracker:
    """Tracks runs in an MLflow store."""

    def __init__(self, address: TrackingAddress) -> None:
        self.address = address
        if not address.is_local:
            recall_password(address.tracking_uri)

    def check(self) -> None:
        check_reachable(self.address)

    def prepare(self) -> None:
        make_local_store(self.address)

    def create(self, run: Run) -> Run:
        try:
            return create_in_mlflow(run)
        except StoreError as error:
            raise _at_the_start(error) from error

    def attach(self, run: Run) -> Run:
        try:
            return attach_to_mlflow(run)
        except StoreError as error:
            raise _at_the_start(error) from error

    def send_opening(self, run: Run) -> None:
        from tasks.tracking.publish import publish_opening  # imports torch, which `minigpt runs` does not need

        try:
            publish_opening(run)
        except StoreError as error:
            log.warning("%s; the run continues, and what is missing is sent when it ends", error)

    def send_points(self, run: Run, points: Sequence[Point]) -> bool:
        send_points(run, points)
        return True

    def set_status(
        self, run: Run, mlflow_status: str, status: str, tags: Mapping[str, str], ended_ms: int | None
    ) -> bool:
        if run.mlflow_id is None:  # `minigpt sync` reports the status later
            return True
        try:
            set_status(run, mlflow_status, status, tags, ended_ms)
        except StoreError:
            return False
        return True

    def finish(self, run: Run, curve: bool) -> None:
        from tasks.tracking.publish import publish_run

        try:
            publish_run(run, curve)
        except StoreError as error:
            log.warning("%s; `minigpt sync %s` sends what is missing", error, run.short_id)

    def reaches(self, run: Run) -> bool:
        return run.tracking.tracking_uri == self.address.tracking_uri

    def known_runs(self) -> list[Run]:
        known: dict[str, Run] = {run.run_id: run for run in _waiting_runs()}
        known |= {run.run_id: run for run in tracked_runs(self.address)}
        return sorted(known.values(), key=lambda run: run.start_time_ms, reverse=True)

    def find(self, text: str) -> Run:
        own = [run for run in self.known_runs() if isinstance(run, TrackedRun) or run.tracking == self.address]
        found = match_run(text, own) or match_run(text, _waiting_runs())
        if found is None:
            raise InputError(
                f"there is no run with the id or name {text!r} in the experiment {self.address.experiment!r} at "
                f"{self.address.shown}; `minigpt runs` lists them"
            )
        return _from_folder(found) if isinstance(found, TrackedRun) else found

    def fetch(self, run: Run, name: str) -> Path:
        return fetch_artifact(run, name)

    def stored_points(self, run: Run, keys: Iterable[str]) -> list[Point] | None:
        if run.mlflow_id is None:
            return []
        if not is_made(run.tracking):
            raise StoreError(f"the store {run.tracking.shown} is gone; put it back")
        return stored_points(run, keys)


class OfflineTracker:
    """Leaves everything in the runs' folders and asks no store."""

    def __init__(self, address: TrackingAddress) -> None:
        self.address = address

    def check(self) -> None:
        pass

    def prepare(self) -> None:
        pass

    def create(self, run: Run) -> Run:
        return run

    def attach(self, run: Run) -> Run:
        return run

    def send_opening(self, run: Run) -> None:
        pass

    def send_points(self, run: Run, points: Sequence[Point]) -> bool:
        return False

    def set_status(
        self, run: Run, mlflow_status: str, status: str, tags: Mapping[str, str], ended_ms: int | None
    ) -> bool:
        return True

    def finish(self, run: Run, curve: bool) -> None:
        log.warning("run %s is not in MLflow; `minigpt sync %s` sends it", run.run_id, run.short_id)

    def reaches(self, run: Run) -> bool:
        return False

    def known_runs(self) -> list[Run]:
        return list(runs_here())

    def find(self, text: str) -> Run:
        return find_local_run(text)

    def fetch(self, run: Run, name: str) -> Path:
        return local_artifact(run, name)

    def stored_points(self, run: Run, keys: Iterable[str]) -> list[Point] | None:
        return None


def open_tracker(settings: TrackingSettings) -> Tracker:
    """The tracker for the settings; offline if `offline_if_unreachable` is set and the store does not answer."""
    tracker = tracker_at(settings.address(), offline=settings.offline)
    if settings.offline_if_unreachable:
        try:
            tracker.check()
        except UnreachableError as error:
            log.warning("%s; this run continues offline", error)
            return OfflineTracker(tracker.address)
    return tracker


def tracker_at(address: TrackingAddress, *, offline: bool) -> Tracker:
    """The tracker for a known address, such as the one recorded with a run."""
    return OfflineTracker(address) if offline else MlflowTracker(address)


def _at_the_start(error: StoreError) -> InputError:
    return InputError(f"{error}; check that it works, or run without it with --offline")


def _waiting_runs() -> list[Run]:
    """The runs of this home that do not exist in MLflow yet, newest first."""
    return [run for run in runs_here() if run.mlflow_id is None]


def _from_folder(run: TrackedRun) -> Run:
    """The run as its folder in this home describes it; as MLflow does if it has no folder here."""
    here = (run.folder / TRACKING_FILE).exists()
    return replace(load_run(run.folder), tracking=run.tracking) if here else run
