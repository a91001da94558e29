"""The lease on a run: a file in its folder that names the process that writes it.

A lease is valid only while its owner lives, so a process that was killed on this host does not block its run.
"""

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
    """Make this process the lease owner of the run; raise InputError while another live process owns it."""
    with FileLock(folder / LEASE_LOCK):
        owner = _owner(folder)
        if is_alive(owner) and (owner["host"], owner["pid"]) != (socket.gethostname(), os.getpid()):
            raise InputError(owner_sentence(folder))
        write_atomically(folder / LEASE_FILE, json.dumps(this_process()).encode())


@contextmanager
def no_owner(folder: Path) -> Iterator[bool]:
    """Yield True if the run has no lease owner. No process can take the lease while the block runs."""
    with FileLock(folder / LEASE_LOCK):
        yield not is_owned(folder)


def owner_sentence(folder: Path) -> str:
    """Say which process owns the lease, and what a person can do about it."""
    owner = _owner(folder)
    gone = (
        f"; if that machine is gone, delete {folder / LEASE_FILE}" if owner.get("host") != socket.gethostname() else ""
    )
    return (
        f"run {folder.name} is being written by process {owner.get('pid')} on {owner.get('host')}; "
        f"wait until it has ended, or end it{gone}"
    )


def release_lease(folder: Path) -> None:
    """Give up the lease. Call it only after the run's end was reported: without a lease, recovery skips the run."""
    (folder / LEASE_FILE).unlink(missing_ok=True)


def is_owned(folder: Path) -> bool:
    """True if the process that last took the lease is still alive."""
    return is_alive(_owner(folder))


def is_alive(owner: Mapping[str, Any]) -> bool:
    """True if the owner's process is alive. An owner on another host cannot be checked and counts as alive."""
    if not owner:
        return False
    if owner["host"] != socket.gethostname():
        return True
    return same_process(owner["pid"], owner["born"]) is not None


def _owner(folder: Path) -> dict[str, Any]:
    """Host, pid and start time of the lease owner; empty if there is no lease."""
    try:
        owner: dict[str, Any] = json.loads((folder / LEASE_FILE).read_bytes())
    except FileNotFoundError:
        return {}
    return owner
