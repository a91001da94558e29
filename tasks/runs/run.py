"""A run and its folder, which is the source of truth even if no tracking store can be reached."""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from minigpt.errors import InputError, on_one_line
from minigpt.io.journal import JOURNAL, read_journal
from minigpt.io.store import write_atomically
from tasks.home.folders import runs_folder
from tasks.home.settings import TrackingAddress
from tasks.runs.files import A_COPY, FACTS_FILE, FORMAT, PUBLISHED_FILE, RESULT_FILE, TRACKING_FILE, read_stored
from tasks.runs.ids import HasRunId
from tasks.runs.lease import is_owned
from tasks.runs.provenance import Facts
from tasks.runs.result import Result

log = logging.getLogger(__name__)
# Set on a rerun: the id of the run that it repeats.
RERUN_OF_TAG = "minigpt.rerun_of"
# What changed since the last run of the same config name.
CHANGE_TAG = "minigpt.change"


@dataclass(frozen=True)
class Run(HasRunId):
    """One run: its params and tags, and where it is tracked. Its folder is in this home."""

    run_id: str
    name: str
    tracking: TrackingAddress
    start_time_ms: int
    params: dict[str, str]
    tags: dict[str, str]
    mlflow_id: str | None = None
    """Equals `run_id`, except for a run that was started offline; None until the run exists in MLflow."""
    experiment_id: str = ""
    artifact_uri: str = ""

    @property
    def folder(self) -> Path:
        return runs_folder() / self.run_id

    def save(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        values = {"format": FORMAT} | asdict(self) | {"tracking": self.tracking.model_dump()}
        write_atomically(self.folder / TRACKING_FILE, json.dumps(values, indent=1).encode())

    def result(self) -> Result | None:
        """The run's result; None until it has ended. Raises InputError if result.json is damaged."""
        with suppress(FileNotFoundError):
            without_it = f"delete it, and `minigpt resume {self.short_id}` writes it again"
            return read_stored(Result, self.folder / RESULT_FILE, without_it)
        return None

    def readable_result(self) -> Result | None:
        """Like `result`, but None if result.json is damaged."""
        with suppress(InputError):
            return self.result()
        return None

    def facts(self) -> Facts:
        """The run's provenance. Raises InputError if facts.json is missing or damaged."""
        try:
            return read_stored(Facts, self.folder / FACTS_FILE)
        except FileNotFoundError as error:
            raise InputError(f"{self.folder / FACTS_FILE} is not there; {A_COPY}") from error

    @property
    def has_result(self) -> bool:
        """True if result.json exists, even if it is damaged."""
        return (self.folder / RESULT_FILE).exists()

    @property
    def has_ended(self) -> bool:
        return self.readable_result() is not None

    @property
    def is_rerun(self) -> bool:
        return RERUN_OF_TAG in self.tags

    def last_ms(self) -> int:
        """Unix time of the journal's last record, or of the run's start if the journal is empty or damaged."""
        with suppress(InputError):
            if records := read_journal(self.folder / JOURNAL):
                return records[-1].time_ms
        return self.start_time_ms

    def is_opened(self) -> bool:
        """True if the folder has everything that the training starts from."""
        return (self.folder / FACTS_FILE).exists()

    def is_published(self) -> bool:
        return (self.folder / PUBLISHED_FILE).exists()


def as_params(values: Mapping[str, Any]) -> dict[str, str]:
    """Convert hyperparameters to strings as MLflow stores them; a list becomes JSON."""
    return {key: json.dumps(value) if isinstance(value, list) else str(value) for key, value in values.items()}


def load_run(folder: Path) -> Run:
    """Load a run from its folder; raise InputError if tracking.json is missing or damaged."""
    try:
        values = json.loads((folder / TRACKING_FILE).read_bytes())
        if (written := values.pop("format", 1)) > FORMAT:
            raise ValueError(f"it has format {written}, and this version of minigpt reads {FORMAT} at most")
        # Format 1 also had the options of the command that made the run.
        address = {name: values["tracking"][name] for name in TrackingAddress.model_fields}
        return Run(**values | {"tracking": TrackingAddress.model_validate(address)})
    except FileNotFoundError as error:
        raise InputError(f"{folder} holds no run") from error
    except (ValueError, TypeError, KeyError) as error:
        reason = on_one_line(error)
        raise InputError(
            f"{folder / TRACKING_FILE} is damaged ({reason}); put it back from a copy, or delete it"
        ) from error


def runs_here() -> list[Run]:
    """Every readable run of this home, newest first; logs a warning for each that cannot be read."""
    found = []
    for path in runs_folder().glob(f"*/{TRACKING_FILE}"):
        try:
            found.append(load_run(path.parent))
        except InputError as error:
            _warn_once(str(error))
    return sorted(found, key=lambda run: run.start_time_ms, reverse=True)


@cache
def _warn_once(sentence: str) -> None:
    """Log a warning once per process, although a command may list the runs several times."""
    log.warning("%s", sentence)


def ended_alike(params: Mapping[str, str]) -> Iterator[Run]:
    """Ended runs of this home with the same config name and corpus source, newest first, without reruns."""
    same = {name: params[name] for name in ("name", "corpus.source")}
    return (run for run in runs_here() if same.items() <= run.params.items() and not run.is_rerun and run.has_ended)


def left_behind() -> Iterator[Run]:
    """Runs without a live lease owner whose end MLflow does not know yet, newest first."""
    return (run for run in runs_here() if not run.is_published() and not is_owned(run.folder))


def unfinished() -> Iterator[Run]:
    """Runs that were opened but did not end, and that no live process owns, newest first."""
    return (run for run in left_behind() if run.is_opened() and not run.has_result)


def resume_hint() -> str:
    """Name the run that `minigpt resume` picks by default, as the end of a sentence; empty if there is none."""
    with suppress(OSError, InputError):
        if run := next(unfinished(), None):
            return f"; `minigpt resume` continues run {run.short_id} of {run.params.get('name')}"
    return ""


def way_out(run: Run) -> str:
    """Say how to get a file that is missing from the run, as the end of an error."""
    if not (run.folder / TRACKING_FILE).exists():
        return f"it belongs to another home, or its folder is gone from {runs_folder()}; put it back from a copy"
    if is_owned(run.folder):
        return "it is still being written: wait until it has ended"
    if run.result() is None:
        return f"it has not ended: `minigpt resume {run.short_id}` finishes it"
    return "put the file back from a copy"
