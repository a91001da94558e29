"""Which process writes a run: written into the run's folder, and true only while that very process lives."""

import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from minigpt.errors import InputError
from minigpt.io.store import write_atomically
from tasks.home.process import same_process, this_process

LEASE_FILE = "owner.json"
LEASE_LOCK = ".owner.lock"


def take_lease(folder: Path) -> None:
    """Make this process the one that writes the run; refused while another does."""
    with FileLock(folder / LEASE_LOCK):
        owner = _owner(folder)
        if is_alive(owner) and (owner["host"], owner["pid"]) != (socket.gethostname(), os.getpid()):
            raise InputError(owner_sentence(folder))
        write_atomically(folder / LEASE_FILE, json.dumps(this_process()).encode())


@contextmanager
def no_owner(folder: Path) -> Iterator[bool]:
    """Whether no process writes the run; none begins to while the block runs."""
    with FileLock(folder / LEASE_LOCK):
        yield not is_owned(folder)


def owner_sentence(folder: Path) -> str:
    """Who writes the run, and what to do about it."""
    owner = _owner(folder)
    gone = (
        f"; if that machine is gone, delete {folder / LEASE_FILE}" if owner.get("host") != socket.gethostname() else ""
    )
    return (
        f"run {folder.name} is being written by process {owner.get('pid')} on {owner.get('host')}; "
        f"wait until it has ended, or end it{gone}"
    )


def release_lease(folder: Path) -> None:
    """Say that no process writes the run any more, and that all who want to know have been told."""
    (folder / LEASE_FILE).unlink(missing_ok=True)


def is_owned(folder: Path) -> bool:
    """Whether the process that wrote the run last still lives."""
    return is_alive(_owner(folder))


def is_alive(owner: Mapping[str, Any]) -> bool:
    """Whether that very process is there; one on another host is taken to be."""
    if not owner:
        return False
    if owner["host"] != socket.gethostname():
        return True
    return same_process(owner["pid"], owner["born"]) is not None


def _owner(folder: Path) -> dict[str, Any]:
    """Host, pid and start time; nothing where no process ever wrote."""
    try:
        owner: dict[str, Any] = json.loads((folder / LEASE_FILE).read_bytes())
    except FileNotFoundError:
        return {}
    return owner
