"""Before the process ends: every log line and every task run of its flow runs in Prefect's database."""

import time
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker

SETTLE_SECONDS = 30
POLL_SECONDS = 0.1


def flush_logs_and_events() -> None:
    """Send what this process still holds back; Prefect does it at exit, when the server is gone."""
    for worker in (APILogWorker, EventsWorker):
        worker.drain_all(timeout=SETTLE_SECONDS)


def wait_for_final_states(flow_run_id: UUID, task_runs: int) -> None:
    """Return once the server has stored at least `task_runs` of the flow run's tasks, all in a final state.

    The client reports states as events, and the server stores them some time later; a server that ends before that
    loses them.
    """
    deadline = time.monotonic() + SETTLE_SECONDS
    with get_client(sync_client=True) as client:
        while time.monotonic() < deadline:
            stored = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id])))
            if len(stored) >= task_runs and all(run.state and run.state.is_final() for run in stored):
                return
            time.sleep(POLL_SECONDS)
