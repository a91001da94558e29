"""Run the flow in this process, with a Prefect server for as long as it takes."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from typing import TYPE_CHECKING

from tasks.servers import Server, prefect_server

if TYPE_CHECKING:  # imported for real while the server starts
    from flows.config import RunConfig
    from tasks.result import Result
    from tasks.tracking_settings import Tracking

log = logging.getLogger(__name__)


@contextmanager
def prefect(tracking: "Tracking") -> Iterator[Server]:
    """A server that answers, and Prefect told to use it; all that is said has reached it when the block is left."""
    with prefect_server() as server:
        from prefect.settings import PREFECT_API_URL, temporary_settings

        from flows.settling import drain
        from tasks.tracking_store import prepare_store

        import_module("flows.pretraining")  # seconds of imports, while the server has its own
        prepare_store(tracking)
        server.wait()
        with temporary_settings(updates={PREFECT_API_URL: server.api_url}):
            try:
                yield server
            finally:
                drain()


def run_flow(config: "RunConfig", tracking: "Tracking", resumed: str | None = None) -> "Result":
    """The result of one run; what went wrong in a task is raised here."""
    # Standard output is the result's alone, whatever a library may say.
    with redirect_stdout(sys.stderr), prefect(tracking) as server:
        from flows.pretraining import TASK_RUNS, pretrain
        from flows.settling import drain, wait_for_final_states
        from tasks.result import Result

        log.info("Prefect shows the run at %s", server.url)
        with server.answering():
            state = pretrain(config, tracking, resumed, return_state=True)
        drain()
        result = state.result(raise_on_failure=False)  # of a run that diverged as well, which Prefect is told failed
        if flow_run_id := state.state_details.flow_run_id:
            tasks = TASK_RUNS + (result.held_out is not None) if isinstance(result, Result) else 0
            wait_for_final_states(flow_run_id, tasks)
        if isinstance(result, BaseException):
            raise result
        assert isinstance(result, Result)  # noqa: S101  (only a schedule's run gives way to another)
        return result
