"""Send to MLflow what it does not have of this home's runs yet."""

from collections.abc import Iterator

from minigpt.errors import InputError
from tasks.runs.lease import is_owned, owner_sentence
from tasks.runs.names import find_local_run
from tasks.runs.run import Run, left_behind
from tasks.tracking.client import StoreError
from tasks.tracking.publish import publish_run
from tasks.tracking.tracker import MlflowTracker


def sync_runs(text: str | None) -> Iterator[str]:
    """Send the named run, even if MLflow already has it, or every waiting run; yield a sentence for each.

    Raises InputError at the end if any run could not be sent.
    """
    waiting = [run for run in left_behind() if run.is_opened()] if text is None else [_ended(text)]
    if not waiting:
        yield "every run of this home has been sent to MLflow"
    refused: dict[str, list[str]] = {}
    for run in waiting:
        try:
            MlflowTracker(run.tracking).check()
            publish_run(run, again=text is not None)
        except (StoreError, InputError) as error:
            refused.setdefault(str(error), []).append(run.short_id)
        else:
            ended = "" if run.result() else f" so far; `minigpt resume {run.short_id}` continues it"
            yield f"run {run.run_id}: MLflow at {run.tracking.shown} has all of it{ended}"
    if refused:
        reasons = "; ".join(f"{error} (still waiting: {', '.join(ids)})" for error, ids in refused.items())
        raise InputError(f"{reasons}; run `minigpt sync` again when that is fixed")


def _ended(text: str) -> Run:
    run = find_local_run(text)
    if is_owned(run.folder):
        raise InputError(f"{owner_sentence(run.folder)}; it is sent when it ends")
    if not run.is_opened():
        raise InputError(f"run {run.run_id} was stopped before it was opened, so there is nothing to send")
    return run
