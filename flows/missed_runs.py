"""Missed runs: only the newest due run of a schedule trains.

Prefect backfills every run that its scheduler missed, one after the other, so three missed runs would be three
trainings on the same text. Each run has the config that its schedule had when Prefect planned the run.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import ObjectNotFound
from prefect.runtime import deployment, flow_run


def newer_due_run() -> FlowRun | None:
    """A due run of the same schedule whose start time is later than that of this flow run; None without one.

    Runs that a person started by hand are ignored, and never replaced.
    """
    if deployment.id is None:
        return None
    scheduled = flow_run.scheduled_start_time
    after = FlowRunFilterExpectedStartTime(after_=scheduled + timedelta(seconds=1), before_=datetime.now(tz=UTC))
    waiting = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED, StateType.PENDING]))
    of_schedule = FlowRunFilterDeploymentId(any_=[UUID(deployment.id)])
    with get_client(sync_client=True) as client:
        if not client.read_flow_run(UUID(flow_run.id)).auto_scheduled:
            return None
        due = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(deployment_id=of_schedule, expected_start_time=after, state=waiting)
        )
    return next((run for run in due if run.auto_scheduled), None)


def delete_runs_of_other_configs(name: str, parameters: Mapping[str, Any]) -> None:
    """Delete the runs that a schedule of this name planned with other parameters, so that they are not backfilled."""
    with get_client(sync_client=True) as client:
        try:
            planned_by = client.read_deployment_by_name(name).id
        except ObjectNotFound:
            return
        of_schedule = FlowRunFilterDeploymentId(any_=[planned_by])
        planned = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED]))
        for run in client.read_flow_runs(flow_run_filter=FlowRunFilter(deployment_id=of_schedule, state=planned)):
            if run.auto_scheduled and run.parameters != parameters:
                client.delete_flow_run(run.id)
