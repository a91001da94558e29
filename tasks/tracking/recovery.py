"""Clean up after earlier processes of this home: runs that died, and runs whose end MLflow does not know yet."""

import contextlib
import logging
from uuid import UUID

from filelock import Timeout
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed

from minigpt.errors import InputError
from tasks.runs.lease import LEASE_FILE, no_owner, release_lease
from tasks.runs.run import Run, left_behind
from tasks.tracking.client import StoreError
from tasks.tracking.live import report_status
from tasks.tracking.publish import publish_run
from tasks.tracking.tracker import Tracker
from tasks.tracking.write import ERROR_TAG

log = logging.getLogger(__name__)


def settle_dead_runs(tracker: Tracker, resumed: str | None) -> None:
    """Send ended runs to MLflow, and mark runs whose process died as such in MLflow and Prefect.

    `resumed` is the id of a run that is about to be resumed; its death is not logged again.
    """
    for run in filter(tracker.reaches, left_behind()):
        if run.has_result:
            _send(run)
        else:
            with no_owner(run.folder) as free:
                if free and (run.folder / LEASE_FILE).exists():
                    _bury(run, tracker, reported=run.run_id == resumed)


def _send(run: Run) -> None:
    try:
        publish_run(run, timeout_seconds=0)
    except Timeout:
        log.info("run %s is being sent by another process", run.short_id)
    except (StoreError, InputError) as error:
        log.warning("run %s still waits for MLflow: %s", run.short_id, error)
    else:
        log.warning("run %s is now complete in MLflow", run.short_id)


def _bury(run: Run, tracker: Tracker, reported: bool) -> None:
    """Mark a run as dead and release its lease, so that this happens once per dead process."""
    if not reported:
        log.warning("run %s died; `minigpt resume %s` continues it", run.run_id, run.short_id)
        error = {ERROR_TAG: "its process died"}
        reported = report_status(run, tracker, "KILLED", "interrupted", error, run.last_ms())
    flow_run_id = run.tags.get("prefect.flow_run_id", "None")
    if flow_run_id != "None":
        _crash(UUID(flow_run_id))
    if reported:
        release_lease(run.folder)


def _crash(flow_run_id: UUID) -> None:
    with get_client(sync_client=True) as client, contextlib.suppress(ObjectNotFound):  # a run of another Prefect server
        state = client.read_flow_run(flow_run_id).state
        if state is None or not state.is_final():
            client.set_flow_run_state(flow_run_id, Crashed(message="its process died"), force=True)
