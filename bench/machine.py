"""The facts of a measurement: date, commit, machine and package versions."""

import subprocess
import time
from importlib import metadata
from pathlib import Path

from bench.measure import PEERS, ROOT, THREADS

# Paths whose uncommitted edits are marked with a + after the commit. Result files are left out, because the results of
# one part are written before the next one runs.
MEASURED = ("minigpt", "tasks", "flows", "bench/*.py")
PACKAGES = ("torch", "tiktoken", "prefect", "mlflow", "llms-from-scratch", "transformers", "litgpt")


def facts() -> dict[str, str]:
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "commit": git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", *MEASURED) else ""),
        "machine": machine(),
        "versions": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
    }


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    pairs = (line.partition(":") for line in lines)
    fields = {name.strip(): value.strip() for name, _, value in pairs}
    flags = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in fields["flags"].split()]
    names = f"{fields['model name']} family {fields['cpu family']} model {fields['model']}"
    return f"{THREADS} cores of {names} ({' '.join(flags)})"


def version(package: str) -> str:
    """The version of a package in this environment, else in that of the peers, else a question mark."""
    places = [str(place) for place in (PEERS.parents[1] / "lib").glob("python*/site-packages")]
    for found in (*metadata.distributions(name=package), *metadata.distributions(name=package, path=places)):
        return found.version
    return "?"


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else "?"
