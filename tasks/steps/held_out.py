"""The step `held-out text`: compare the run's best weights with the champion's on a text that no run trains on."""

import logging
from contextlib import suppress
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from minigpt.data.files import SourceFiles, log_files
from minigpt.errors import InputError, on_one_line
from minigpt.io.records import now_ms
from minigpt.runtime.environment import apply_environment
from minigpt.training.job import TrainingJob
from tasks.home.folders import arriving
from tasks.promotion.champion import champion_for, record_champion
from tasks.promotion.judgement import NOT_JUDGED, judge_run
from tasks.promotion.measure import bring_text
from tasks.runs.result import Judgement
from tasks.runs.run import Run
from tasks.steps.training import Trained

log = logging.getLogger(__name__)


def check_held_out(source: str) -> SourceFiles | None:
    """Check the held-out text before the training starts; return the files that it was read from.

    Raises InputError if no model can be measured on it.
    """
    try:
        with arriving() as folder:
            files = bring_text(Path(source), folder / "text")
    except InputError as error:
        raise InputError(f"held_out.source: {error}") from error
    log_files(source, files)
    return files


@task(name="held-out text", cache_policy=NO_CACHE, retries=0)
def judge_on_held_out(run: Run, job: TrainingJob, trained: Trained, source: str) -> Judgement:
    """Compare the run with the champion of its name. An error here does not fail the run: the judgement reports it."""
    apply_environment(job.config.environment)
    other = None
    try:
        other = champion_for(run)
        judgement = judge_run(run, other, trained.status, source)
    except Exception as error:  # for example weights that another version wrote, or files deleted meanwhile
        by_hand = f"`minigpt evaluate {' '.join(one.short_id for one in (other, run) if one)} --on {source}`"
        sentence = (
            f"This run was not judged on the held-out text ({on_one_line(error)}); once that is repaired, {by_hand} "
            "measures the models, and `minigpt ship` promotes one of them."
        )
        log.warning("%s", sentence)
        return Judgement(now_ms(), (sentence,), NOT_JUDGED, "undecided", source)
    for sentence in judgement.sentences:
        log.info("%s", sentence)
    return judgement


def remember_champion(run: Run, judgement: Judgement) -> None:
    """Note the run as champion if nothing speaks against it; call this after its result is written."""
    if not judgement.objection:
        with suppress(OSError):  # a full disk must not fail a run that has ended
            record_champion(run, judgement.time_ms)
