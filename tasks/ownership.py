"""Which process writes a run: written into the run's folder, and true only while that very process lives."""

import json
import os
import socket
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock

from minigpt.errors import InputError
from minigpt.store import write_whole

OWNER = "owner.json"
LOCK = ".owner.lock"
# Start times of one process read at two moments differ by less than this.
BORN_TOLERANCE_SECONDS = 1.0


def own(folder: Path) -> None:
    """Make this process the one that writes the run; refused while another does."""
    with FileLock(folder / LOCK):
        if is_owned(folder) and _owner(folder)["pid"] != os.getpid():
            owner = _owner(folder)
            raise InputError(
                f"run {folder.name} is being written by process {owner['pid']} on {owner['host']}; "
                "wait until it has ended, or end it"
            )
        me = {"host": socket.gethostname(), "pid": os.getpid(), "born": psutil.Process().create_time()}
        write_whole(folder / OWNER, json.dumps(me).encode())


def is_owned(folder: Path) -> bool:
    """Whether the process that wrote the run last still lives; one on another host is taken to."""
    owner = _owner(folder)
    if not owner:
        return False
    if owner["host"] != socket.gethostname():
        return True
    try:
        process = psutil.Process(owner["pid"])
        born = process.create_time()
        return abs(born - owner["born"]) < BORN_TOLERANCE_SECONDS and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _owner(folder: Path) -> dict[str, Any]:
    """Host, pid and start time; nothing where no process ever wrote."""
    try:
        owner: dict[str, Any] = json.loads((folder / OWNER).read_bytes())
    except FileNotFoundError:
        return {}
    return owner
