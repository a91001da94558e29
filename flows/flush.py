"""Wait until Prefect's database has the logs and the final task states of this process's flow runs."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.context import FlowRunContext
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker

SETTLE_SECONDS = 30
POLL_SECONDS = 0.1

# The number of task calls of each flow run of this process.
_task_runs: dict[UUID, int] = {}


def flush_logs_and_events() -> None:
    """Send the logs and events that are still buffered; Prefect would send them at exit, when the server is gone."""
    for worker in (APILogWorker, EventsWorker):
        worker.drain_all(timeout=SETTLE_SECONDS)


@contextmanager
def counted_task_runs() -> Iterator[None]:
    """Count the tasks that the current flow run calls in this block, for `wait_for_final_states`."""
    try:
        yield
    finally:
        context = FlowRunContext.get()
        if context is not None and context.flow_run is not None:
            # Prefect numbers the calls of each task from 0.
            calls = context.task_run_dynamic_keys.values()
            _task_runs[context.flow_run.id] = sum(int(last) + 1 for last in calls)


def wait_for_final_states(flow_run_id: UUID) -> None:
    """Wait up to SETTLE_SECONDS until the server has stored every task run of this flow run in a final state.

    The client reports states as events, which the server stores some time later; a server that ends earlier loses
    them.
    """
    deadline = time.monotonic() + SETTLE_SECONDS
    with get_client(sync_client=True) as client:
        while time.monotonic() < deadline:
            stored = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id])))
            if len(stored) >= _task_runs.get(flow_run_id, 0) and all(
                run.state and run.state.is_final() for run in stored
            ):
                return
            time.sleep(POLL_SECONDS)
