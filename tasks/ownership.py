"""Which process writes a run: written into the run's folder, and true only while that very process lives."""

import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock

from minigpt.errors import InputError
from minigpt.io.store import write_atomically

OWNER = "owner.json"
LOCK = ".owner.lock"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def born(pid: int) -> str:
    """When a process started: the boot and the clock ticks behind it, which no change of the system's time moves."""
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return f"{BOOT_ID.read_text().strip()} {ticks}"


def same_process(pid: int, then: str | float) -> psutil.Process | None:
    """The process that was born so, if it is there still; earlier versions wrote down the time of the day."""
    with suppress(psutil.Error, OSError):
        process = psutil.Process(pid)
        same = born(pid) == then if isinstance(then, str) else abs(process.create_time() - then) < 1
        if same and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None


def me() -> dict[str, Any]:
    """What tells this process from every other."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "born": born(os.getpid())}


def own(folder: Path) -> None:
    """Make this process the one that writes the run; refused while another does."""
    with FileLock(folder / LOCK):
        owner = _owner(folder)
        if lives(owner) and (owner["host"], owner["pid"]) != (socket.gethostname(), os.getpid()):
            raise InputError(writing(folder))
        write_atomically(folder / OWNER, json.dumps(me()).encode())


@contextmanager
def unowned(folder: Path) -> Iterator[bool]:
    """Whether no process writes the run; none begins to while the block runs."""
    with FileLock(folder / LOCK):
        yield not is_owned(folder)


def writing(folder: Path) -> str:
    """Who writes the run, and what to do about it."""
    owner = _owner(folder)
    gone = f"; if that machine is gone, delete {folder / OWNER}" if owner.get("host") != socket.gethostname() else ""
    return (
        f"run {folder.name} is being written by process {owner.get('pid')} on {owner.get('host')}; "
        f"wait until it has ended, or end it{gone}"
    )


def disown(folder: Path) -> None:
    """Say that no process writes the run any more, and that all who want to know have been told."""
    (folder / OWNER).unlink(missing_ok=True)


def is_owned(folder: Path) -> bool:
    """Whether the process that wrote the run last still lives."""
    return lives(_owner(folder))


def lives(owner: Mapping[str, Any]) -> bool:
    """Whether that very process is there; one on another host is taken to be."""
    if not owner:
        return False
    if owner["host"] != socket.gethostname():
        return True
    return same_process(owner["pid"], owner["born"]) is not None


def _owner(folder: Path) -> dict[str, Any]:
    """Host, pid and start time; nothing where no process ever wrote."""
    try:
        owner: dict[str, Any] = json.loads((folder / OWNER).read_bytes())
    except FileNotFoundError:
        return {}
    return owner
