"""The names of the files in a run's folder, and the base class of the values stored there as JSON."""

import json
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from minigpt.errors import InputError, on_one_line
from minigpt.io.store import write_atomically

TRACKING_FILE = "tracking.json"
FACTS_FILE = "facts.json"
CORPUS_FILE = "corpus.txt"
DIFF_FILE = "code.diff"
RESULT_FILE = "result.json"
REPORT_FILE = "report.md"
PLOT_FILES = ("loss.png", "perplexity.png")
# Written once MLflow has everything about a run that ended.
PUBLISHED_FILE = "published"

# The format of the files that hold a Stored value. A file without `format` has format 1, whose fields are the same.
FORMAT = 2
# The way out in errors about a damaged file.
A_COPY = "put it back from a copy; a tracking server may have one among the run's artifacts"


class Stored(BaseModel):
    """Base of the values that a run's folder keeps as JSON. In memory they always have the newest format."""

    model_config = ConfigDict(frozen=True)

    format: int = FORMAT

    def write(self, path: Path) -> None:
        write_atomically(path, self.model_dump_json(indent=1).encode())


AnyStored = TypeVar("AnyStored", bound=Stored)


def read_stored(kind: type[AnyStored], path: Path, way_out: str = A_COPY) -> AnyStored:
    """Read a value from a file of any format up to FORMAT.

    Raises FileNotFoundError if the file does not exist, and InputError if it is damaged or a newer minigpt wrote it.
    The error for a damaged file ends with `way_out`.
    """
    try:
        values = json.loads(path.read_bytes())
        if not isinstance(values, dict):
            raise ValueError("it is not a JSON object")
        if not isinstance(version := values.get("format", 1), int) or version < 1:
            raise ValueError(f"its format is {version!r}")
        if version > FORMAT:
            raise InputError(
                f"{path} has format {version}, and this minigpt reads formats up to {FORMAT}: a newer one wrote it; "
                "update this one"
            )
        return kind.model_validate({**values, "format": FORMAT})
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} is damaged ({_first_fault(error)}); {way_out}") from error


def _first_fault(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return on_one_line(error)
    fault = error.errors()[0]
    field = ".".join(map(str, fault["loc"]))
    return f"it has no {field}" if fault["type"] == "missing" else f"{field}: {fault['msg']}"
