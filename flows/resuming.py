"""Runs that did not end: which they are, what is said of them, and how one goes on."""

import logging
from uuid import UUID

from flows import config as configs
from flows.config import RunConfig
from minigpt.errors import InputError
from tasks import tracking
from tasks.corpus import store
from tasks.opening import CONFIG, CORPUS, FACTS
from tasks.tracking import Run
from tasks.tracking_settings import Tracking

log = logging.getLogger(__name__)


def unfinished_run(where: Tracking, text: str | None) -> Run:
    """The run to go on with: the named one, or the last that did not end."""
    candidates = tracking.unfinished(where)
    if text is None:
        if not candidates:
            raise InputError("there is no run that did not end; `minigpt runs` lists all")
        return candidates[0][0]
    run = tracking.find_run(where, text)
    if run.run_id not in {candidate.run_id for candidate, _, _ in candidates}:
        if not run.folder.is_dir():
            raise InputError(f"run {run.run_id} has no folder {run.folder} here; resume it where it was started")
        raise InputError(f"run {run.run_id} has ended, or is being written; `minigpt rerun {text}` does it again")
    return run


def recorded_config(run: Run) -> RunConfig:
    """The run's config; the text that the run kept is put where its digest finds it."""
    if not (run.folder / FACTS).exists():
        raise InputError(f"run {run.run_id} was stopped before it was opened; start it anew")
    text = (run.folder / CONFIG).read_text(encoding="utf-8")
    config = configs.validated(configs.parse_yaml(text, CONFIG), (), f"the config of run {run.run_id}")
    if (run.folder / CORPUS).exists() and config.corpus.sha256:
        store(run.folder / CORPUS, config.corpus.sha256)
    return config


def bury_dead_runs(where: Tracking, resumed: str | None) -> None:
    """Say in MLflow and in Prefect of each run whose process is gone that it is dead."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound
    from prefect.states import Crashed

    for run, status, flow_run_id in tracking.unfinished(where):
        if status != "dead":
            continue
        if run.run_id != resumed:
            tracking.finish(run, "KILLED", {"minigpt.status": "interrupted", "minigpt.error": "its process died"})
            log.warning("run %s died; `minigpt resume %s` goes on with it", run.run_id, run.run_id[:12])
        if flow_run_id and flow_run_id != "None":
            try:
                with get_client(sync_client=True) as client:
                    client.set_flow_run_state(UUID(flow_run_id), Crashed(message="its process died"), force=True)
            except ObjectNotFound:  # of another Prefect
                continue
