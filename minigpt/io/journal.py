"""The journal of a run: one JSON object a line, appended and never changed; the truth about what happened.

Every record has a `kind` and the `time_ms` (Unix milliseconds) of its first writing. Kinds: `start`, `probe`, `step`,
`evaluation`, `sample`, `checkpoint`, `end`, and `resume` where a later process goes on: behind which step, and which
newer checkpoints were damaged; `repeated` is a step that it did again, and tells the time spent so far.
"""

import hashlib
import json
import os
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from minigpt.errors import InputError

Record = dict[str, Any]

# In the folder of its run.
JOURNAL = "journal.jsonl"

# Of the records with which a training process begins.
BEGINNINGS = ("start", "resume")


class Journal:
    """The writing end. Each record is one write, so a kill or a full disk leaves at most one torn line, at the end."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._cut_torn_line(path)

    def _cut_torn_line(self, path: Path) -> None:
        data = path.read_bytes()
        if data and not data.endswith(b"\n"):
            os.ftruncate(self._file, data.rfind(b"\n") + 1)

    def append(self, kind: str, /, **fields: Any) -> Record:
        record = {"kind": kind, "time_ms": now_ms(), **fields}
        line = (json.dumps(record) + "\n").encode()
        while line:  # a disk that is almost full takes a part, and says only the next time that it is full
            line = line[os.write(self._file, line) :]
        return record

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
            records = [json.loads(line) for line in whole.splitlines()]
        except ValueError as error:
            raise InputError(
                f"{self._path} is damaged behind byte {self._offset:,} ({error}); put it back from a copy, such as "
                "MLflow has of runs that ended, or start a new run"
            ) from error
        self._offset += len(whole) + len(newline)
        return records


def now_ms() -> int:
    """As MLflow counts time as well."""
    return time.time_ns() // 1_000_000


def read_journal(path: Path) -> list[Record]:
    return JournalReader(path).new_records()


def has_ended(records: Sequence[Record]) -> bool:
    """Whether the training came to an end of its own, and not by a signal or an error."""
    return bool(records) and records[-1]["kind"] == "end" and records[-1]["status"] not in ("interrupted", "differs")


def of_kind(records: Iterable[Record], *kinds: str) -> Iterator[Record]:
    return (record for record in records if record["kind"] in kinds)


def loss_curve(records: Iterable[Record]) -> list[tuple[int, float]]:
    """(step, training loss) of every step, in order."""
    return [(record["step"], record["loss"]) for record in of_kind(records, "step")]


def curve_sha256(points: Iterable[tuple[int, float]]) -> str:
    """Digest over each step and the exact bits of its loss: little-endian int64 and float64."""
    digest = hashlib.sha256()
    for step, loss in points:
        digest.update(struct.pack("<qd", step, loss))
    return digest.hexdigest()
