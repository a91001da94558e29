"""A run's folder: the truth about it, whether or not a tracking store can be reached."""

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
# The tag of a rerun: the run that it was to repeat.
RERUN_OF_TAG = "minigpt.rerun_of"
# The tag that tells what is new since the last run of the config's name.
CHANGE_TAG = "minigpt.change"


@dataclass(frozen=True)
class Run(HasRunId):
    """One run: its folder here, and where MLflow keeps it, or will once it is reached."""

    run_id: str
    name: str
    tracking: TrackingAddress
    start_time_ms: int
    params: dict[str, str]
    tags: dict[str, str]
    mlflow_id: str | None = None
    """MLflow's id, which is run_id but for a run that was started offline; None before MLflow knows the run."""
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
        """What the run came to; None while it has not ended."""
        with suppress(FileNotFoundError):
            without_it = f"delete it, and `minigpt resume {self.short_id}` writes it again"
            return read_stored(Result, self.folder / RESULT_FILE, without_it)
        return None

    def readable_result(self) -> Result | None:
        """The same, and None as well if it is damaged."""
        with suppress(InputError):
            return self.result()
        return None

    def facts(self) -> Facts:
        """What it was made with."""
        try:
            return read_stored(Facts, self.folder / FACTS_FILE)
        except FileNotFoundError as error:
            raise InputError(f"{self.folder / FACTS_FILE} is not there; {A_COPY}") from error

    @property
    def has_result(self) -> bool:
        """Whether one is written, though it may be damaged."""
        return (self.folder / RESULT_FILE).exists()

    @property
    def has_ended(self) -> bool:
        return self.readable_result() is not None

    @property
    def is_rerun(self) -> bool:
        return RERUN_OF_TAG in self.tags

    def last_ms(self) -> int:
        """When it last did something that its journal tells, if that can be read."""
        with suppress(InputError):
            if records := read_journal(self.folder / JOURNAL):
                return records[-1].time_ms
        return self.start_time_ms

    def is_opened(self) -> bool:
        """Whether its folder has all that the training starts from."""
        return (self.folder / FACTS_FILE).exists()

    def is_published(self) -> bool:
        return (self.folder / PUBLISHED_FILE).exists()


def as_params(values: Mapping[str, Any]) -> dict[str, str]:
    """Hyperparameters as MLflow keeps them."""
    return {key: json.dumps(value) if isinstance(value, list) else str(value) for key, value in values.items()}


def load_run(folder: Path) -> Run:
    """The run of a folder; InputError if the file that says where it is tracked cannot be read."""
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
    """Every run of this home that can be read, newest first."""
    found = []
    for path in runs_folder().glob(f"*/{TRACKING_FILE}"):
        try:
            found.append(load_run(path.parent))
        except InputError as error:
            _tell_once(str(error))
    return sorted(found, key=lambda run: run.start_time_ms, reverse=True)


@cache
def _tell_once(sentence: str) -> None:
    """Runs are looked through more than once in a command."""
    log.warning("%s", sentence)


def ended_alike(params: Mapping[str, str]) -> Iterator[Run]:
    """Runs of this home of the same name and source that have ended and repeat no other, newest first."""
    same = {name: params[name] for name in ("name", "corpus.source")}
    return (run for run in runs_here() if same.items() <= run.params.items() and not run.is_rerun and run.has_ended)


def left_behind() -> Iterator[Run]:
    """Runs that no process writes and of which MLflow does not know the end, newest first."""
    return (run for run in runs_here() if not run.is_published() and not is_owned(run.folder))


def unfinished() -> Iterator[Run]:
    """Runs that no process writes, that were opened and that did not end, newest first."""
    return (run for run in left_behind() if run.is_opened() and not run.has_result)


def resume_hint() -> str:
    """The run that `minigpt resume` takes by itself, for the end of a sentence."""
    with suppress(OSError, InputError):
        if run := next(unfinished(), None):
            return f"; `minigpt resume` goes on with run {run.short_id} of {run.params.get('name')}"
    return ""


def way_out(run: Run) -> str:
    """For someone who lacks a file of the run."""
    if not (run.folder / TRACKING_FILE).exists():
        return f"it is of another home, or its folder is gone from {runs_folder()}; put it back from a copy"
    if is_owned(run.folder):
        return "it is still being written: wait for its end"
    if run.result() is None:
        return f"it has not ended: `minigpt resume {run.short_id}` finishes it"
    return "put the file back from a copy"
