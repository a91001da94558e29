"""The step `held-out text`: the run's best weights and those to beat, on a text that neither is to have read."""

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
    """Refuse a text that cannot be measured on, before anything is trained; the result is what it was read from."""
    try:
        with arriving() as folder:
            files = bring_text(Path(source), folder / "text")
    except InputError as error:
        raise InputError(f"held_out.source: {error}") from error
    log_files(source, files)
    return files


@task(name="held-out text", cache_policy=NO_CACHE, retries=0)
def judge_on_held_out(run: Run, job: TrainingJob, trained: Trained, source: str) -> Judgement:
    """Whether the run is better than the one to beat, beyond chance; whatever goes wrong here does not fail the run."""
    apply_environment(job.config.environment)
    other = None
    try:
        other = champion_for(run)
        judgement = judge_run(run, other, trained.status, source)
    except Exception as error:  # such as of weights that another version wrote, or of files that someone deletes
        by_hand = f"`minigpt evaluate {' '.join(one.short_id for one in (other, run) if one)} --on {source}`"
        said = (
            f"Not judged by the held-out text ({on_one_line(error)}); {by_hand} measures on it once that is "
            "mended, and does not change which run is to beat: `minigpt ship` does."
        )
        log.warning("%s", said)
        return Judgement(now_ms(), (said,), NOT_JUDGED, "undecided", source)
    for sentence in judgement.sentences:
        log.info("%s", sentence)
    return judgement


def remember_champion(run: Run, judgement: Judgement) -> None:
    """Remember a run that is to be shipped, once its result is written."""
    if not judgement.objection:
        with suppress(OSError):  # of a full disk: the run has ended all the same
            record_champion(run, judgement.time_ms)
