"""The journal of a run: an append-only file with one JSON object per line, the source of truth about the run.

The classes in `minigpt.io.records` define the records.
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

# File name in the folder of a run.
JOURNAL = "journal.jsonl"
JSON = json.JSONEncoder(default=asdict)


class DamagedJournalError(InputError):
    """A complete line of a journal is not a valid record; the message gives the file and the byte."""


class Journal:
    """Append records. Each record is one write, so a kill or a full disk leaves at most one torn line, at the end."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._cut_torn_line(path)

    def _cut_torn_line(self, path: Path) -> None:
        data = path.read_bytes()
        if data and not data.endswith(b"\n"):
            os.ftruncate(self._file, data.rfind(b"\n") + 1)

    def append(self, record: Record) -> None:
        line = (JSON.encode({"kind": record.kind, **values_of(record)}) + "\n").encode()
        while line:  # an almost full disk accepts a part; only the next write fails
            line = line[os.write(self._file, line) :]

    def sync(self) -> None:
        """Flush all records to the disk."""
        os.fsync(self._file)

    def close(self) -> None:
        os.close(self._file)


class JournalReader:
    """Follow a journal that is being written: each call returns the records that are new since the last call."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def new_records(self) -> list[Record]:
        """The new complete records; InputError if a newer format version wrote them, or if a line is damaged."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            complete, newline, _ = file.read().rpartition(b"\n")
        try:
            records = [record_from(json.loads(line)) for line in complete.splitlines()]
        except NewerFormatError as newer:
            raise InputError(
                f"{self._path} has format version {newer.version}, but this version of minigpt reads versions up to "
                f"{FORMAT_VERSION}; use the version that made the run, or a newer one"
            ) from newer
        except ValueError as error:
            raise DamagedJournalError(
                f"{self._path} is damaged after byte {self._offset:,} ({error}); restore it from a backup (MLflow has "
                "one for each run that ended), or start a new run"
            ) from error
        self._offset += len(complete) + len(newline)
        return records


def read_journal(path: Path) -> list[Record]:
    """All complete records of a journal, or an empty list if the file does not exist."""
    return JournalReader(path).new_records()


def has_ended(records: Sequence[Record]) -> bool:
    """True if the training finished by itself, rather than by a signal or an error."""
    last = records[-1] if records else None
    return isinstance(last, EndRecord) and last.status not in ("interrupted", "differs")


def loss_curve(records: Iterable[Record]) -> list[tuple[int, float]]:
    """(step, training loss) of every step, in order."""
    return [(record.step, record.loss) for record in of_kind(records, StepRecord)]


def curve_sha256(points: Iterable[tuple[int, float]]) -> str:
    """sha256 of all (step, loss) pairs as little-endian int64 and float64, so that it covers the exact bits."""
    digest = hashlib.sha256()
    for step, loss in points:
        digest.update(struct.pack("<qd", step, loss))
    return digest.hexdigest()
