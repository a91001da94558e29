"""The journal of a run: one JSON object a line, appended and never changed; the truth about what happened.

The classes of `minigpt.io.records` say what a line can hold.
"""

import hashlib
import json
import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from minigpt.errors import InputError
from minigpt.io.records import (
    FORMAT_VERSION,
    EndRecord,
    NewerFormatError,
    Record,
    StepRecord,
    of_kind,
    record_from,
    values_of,
)

# In the folder of its run.
JOURNAL = "journal.jsonl"
JSON = json.JSONEncoder(default=asdict)


class DamagedJournalError(InputError):
    """A complete line of a journal is no record; the message names the file and the byte."""


class Journal:
    """The writing end. Each record is one write, so a kill or a full disk leaves at most one torn line, at the end."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._cut_torn_line(path)

    def _cut_torn_line(self, path: Path) -> None:
        data = path.read_bytes()
        if data and not data.endswith(b"\n"):
            os.ftruncate(self._file, data.rfind(b"\n") + 1)

    def append(self, record: Record) -> None:
        line = (JSON.encode({"kind": record.kind, **values_of(record)}) + "\n").encode()
        while line:  # a disk that is almost full takes a part, and says only the next time that it is full
            line = line[os.write(self._file, line) :]

    def sync(self) -> None:
        """Return when all records are on the disk."""
        os.fsync(self._file)

    def close(self) -> None:
        os.close(self._file)


class JournalReader:
    """The following end: each call gives the records that were completed since the last one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def new_records(self) -> list[Record]:
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            whole, newline, _ = file.read().rpartition(b"\n")
        try:
            records = [record_from(json.loads(line)) for line in whole.splitlines()]
        except NewerFormatError as newer:
            raise InputError(
                f"{self._path} has format version {newer.version}, and this version of minigpt reads those up to "
                f"{FORMAT_VERSION}; take the version that made the run, or a newer one"
            ) from newer
        except ValueError as error:
            raise DamagedJournalError(
                f"{self._path} is damaged behind byte {self._offset:,} ({error}); put it back from a copy, such as "
                "MLflow has of runs that ended, or start a new run"
            ) from error
        self._offset += len(whole) + len(newline)
        return records


def read_journal(path: Path) -> list[Record]:
    return JournalReader(path).new_records()


def has_ended(records: Sequence[Record]) -> bool:
    """True if the training came to an end of its own, and not by a signal or an error."""
    last = records[-1] if records else None
    return isinstance(last, EndRecord) and last.status not in ("interrupted", "differs")


def loss_curve(records: Iterable[Record]) -> list[tuple[int, float]]:
    """(step, training loss) of every step, in order."""
    return [(record.step, record.loss) for record in of_kind(records, StepRecord)]


def curve_sha256(points: Iterable[tuple[int, float]]) -> str:
    """Digest over each step and the exact bits of its loss: little-endian int64 and float64."""
    digest = hashlib.sha256()
    for step, loss in points:
        digest.update(struct.pack("<qd", step, loss))
    return digest.hexdigest()
