"""What a running run sends to its tracker: its curve, point by point, and its status."""

import contextlib
import logging
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from minigpt.io.records import Record, now_ms
from minigpt.training.job import TrainingJob
from tasks.runs.lease import release_lease, take_lease
from tasks.runs.run import Run, as_params
from tasks.tracking.client import StoreError
from tasks.tracking.metrics import MetricPoints
from tasks.tracking.tracker import Tracker
from tasks.tracking.write import ERROR_TAG, STATUS_TAG, Point

log = logging.getLogger(__name__)

# After a failure, sending pauses before the next try. Each further failure doubles the pause.
FIRST_PAUSE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 60.0


def create_run(tracker: Tracker, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> Run:
    """Create a run in the tracker, and its folder, whose lease this process takes."""
    new = Run(uuid.uuid4().hex, name, tracker.address, now_ms(), as_params(params), dict(tags))
    run = tracker.create(new)
    run.folder.mkdir(parents=True, exist_ok=True)
    take_lease(run.folder)
    run.save()
    return run


class CurveSender:
    """Sends a journal's records as they arrive. Points that the store did not take are kept and sent again later."""

    def __init__(self, run: Run, job: TrainingJob, tracker: Tracker) -> None:
        self._tracker, self._run, self._curves = tracker, run, MetricPoints(job)
        self._waiting: list[Point] = []
        self._pause_seconds = FIRST_PAUSE_SECONDS
        self._next_try = 0.0

    def send(self, records: Iterable[Record]) -> None:
        self._waiting += [point for record in records for point in self._curves.points(record)]
        if self._waiting and time.monotonic() >= self._next_try:
            self._try()

    def _try(self) -> None:
        try:
            sent = self._tracker.send_points(self._run, self._waiting)
        except StoreError as error:
            self._next_try = time.monotonic() + self._pause_seconds
            self._pause_seconds = min(2 * self._pause_seconds, LONGEST_PAUSE_SECONDS)
            log.warning("%s; the training continues, and what is missing is sent later", error)
        else:
            self._waiting, self._pause_seconds = [] if sent else self._waiting, FIRST_PAUSE_SECONDS

    @property
    def sent_all(self) -> bool:
        return not self._waiting


@contextlib.contextmanager
def closing_run(run: Run, tracker: Tracker) -> Iterator[None]:
    """Close the run if the block raises: an error marks it FAILED, an interruption KILLED.

    A run whose result is already written keeps that status, whatever is raised afterwards.
    """
    try:
        yield
    except BaseException as error:
        if run.result() is not None:
            release_lease(run.folder)
            raise
        failed = isinstance(error, Exception)
        reported = report_status(
            run,
            tracker,
            "FAILED" if failed else "KILLED",
            "failed" if failed else "interrupted",
            {ERROR_TAG: str(error)} if failed else {},
        )
        if reported:
            release_lease(run.folder)
        raise


def report_status(
    run: Run, tracker: Tracker, mlflow_status: str, status: str, tags: Mapping[str, str], ended_ms: int | None = None
) -> bool:
    """Write a status to the run's folder and report it to the tracker; False if its store failed."""
    with contextlib.suppress(OSError):  # a full disk may be what stopped the run
        replace(run, tags={**run.tags, STATUS_TAG: status, **tags}).save()
    return tracker.set_status(run, mlflow_status, status, tags, ended_ms)
