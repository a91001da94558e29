"""Which process is which: a pid with its birth, which no other process ever has."""

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def birth_of(pid: int) -> str:
    """When a process started: the boot and the clock ticks behind it, which no change of the system's time moves."""
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return f"{BOOT_ID.read_text().strip()} {ticks}"


def same_process(pid: int, then: str | float) -> psutil.Process | None:
    """The process that was born so, if it is there still; earlier versions wrote down the time of the day."""
    with suppress(psutil.Error, OSError):
        process = psutil.Process(pid)
        same = birth_of(pid) == then if isinstance(then, str) else abs(process.create_time() - then) < 1
        if same and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None


def this_process() -> dict[str, Any]:
    """What tells this process from every other."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "born": birth_of(os.getpid())}
