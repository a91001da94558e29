"""Identify processes by pid and birth, and decide which code the processes started here import."""

import json
import os
import socket
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
DISTRIBUTION = "minigpt-pipeline"
# The folder that this code was imported from.
CODE = Path(__file__).resolve().parents[2]


def python_environment() -> dict[str, str]:
    """The environment for every Python process started here: it imports installed packages and this code.

    The working directory and the caller's PYTHONPATH are ignored. A checkout that is not installed is added as
    PYTHONPATH, so that its processes run its own code.
    """
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**kept, "PYTHONSAFEPATH": "1"} | ({} if _is_installed() else {"PYTHONPATH": str(CODE)})


def _is_installed() -> bool:
    """True if Python finds this code by itself: in site-packages, or as an editable install (PEP 610)."""
    if CODE.name in ("site-packages", "dist-packages"):
        return True
    origins = [found.read_text("direct_url.json") for found in metadata.distributions(name=DISTRIBUTION)]
    installed = [json.loads(origin) for origin in origins if origin]
    return any(one["url"] == CODE.as_uri() and one.get("dir_info", {}).get("editable") for one in installed)


def shut_out_other_code() -> None:
    """Change this process's environment to `python_environment`, for processes that Prefect and MLflow start."""
    os.environ.pop("PYTHONPATH", None)
    os.environ.update(python_environment())


def birth_of(pid: int) -> str:
    """When a process started: boot id and clock ticks since boot, which do not depend on the system time."""
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return f"{BOOT_ID.read_text().strip()} {ticks}"


def same_process(pid: int, then: str | float) -> psutil.Process | None:
    """The process with this pid and birth; None if it has ended.

    A float `then`, as written by earlier versions, is the Unix time of the start.
    """
    with suppress(psutil.Error, OSError):
        process = psutil.Process(pid)
        same = birth_of(pid) == then if isinstance(then, str) else abs(process.create_time() - then) < 1
        if same and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None


def this_process() -> dict[str, Any]:
    """Host, pid and birth of this process, which together are unique."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "born": birth_of(os.getpid())}
