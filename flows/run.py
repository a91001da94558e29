"""Run the flow in this process, with a Prefect server that lives as long as the run."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from typing import TYPE_CHECKING

from tasks.servers.prefect_server import PrefectServer, prefect_server

if TYPE_CHECKING:  # imported at run time while the server starts
    from minigpt.recipe import RunConfig
    from tasks.home.settings import RunIdentity, TrackingSettings
    from tasks.runs.result import Result

log = logging.getLogger(__name__)


@contextmanager
def running_prefect(tracking: "TrackingSettings") -> Iterator[PrefectServer]:
    """Start a Prefect server and make Prefect use it; at the end of the block it has received all logs and events."""
    with prefect_server() as server:
        from prefect.settings import PREFECT_API_URL, temporary_settings

        from flows.flush import flush_logs_and_events
        from tasks.tracking.tracker import tracker_at

        import_module("flows.pretraining")  # takes seconds, while the server starts
        tracker_at(tracking.address(), offline=tracking.offline).prepare()
        server.wait()
        with temporary_settings(updates={PREFECT_API_URL: server.api_url}):
            try:
                yield server
            finally:
                flush_logs_and_events()


def run_flow(
    config: "RunConfig",
    tracking: "TrackingSettings",
    identity: "RunIdentity | None" = None,
    resumed: str | None = None,
) -> "Result":
    """Run the flow once and return its result, also if the run diverged. An exception of a task is raised here."""
    # Standard output is only for the result, so a library that prints is redirected.
    with redirect_stdout(sys.stderr), running_prefect(tracking) as server:
        from flows.flush import flush_logs_and_events, wait_for_final_states
        from flows.pretraining import pretrain
        from tasks.runs.result import Result

        log.info("Prefect shows the run at %s", server.url)
        with server.answering():
            state = pretrain(config, tracking, identity, resumed, return_state=True)
        flush_logs_and_events()
        result = state.result(raise_on_failure=False)  # also for a run that diverged, which Prefect shows as failed
        if flow_run_id := state.state_details.flow_run_id:
            wait_for_final_states(flow_run_id)
        if isinstance(result, BaseException):
            raise result
        assert isinstance(result, Result)  # noqa: S101  (only a scheduled run is cancelled for a newer one)
        return result
