"""What a run was made with: packages, code, lock. Recorded with each run, compared by a rerun."""

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import minigpt
from minigpt.io.store import sha256_of_file
from tasks.runs.files import Stored

# The packages that the bits, the flow or the curves come from; the others are recorded as well.
MAIN_PACKAGES = (
    "torch",
    "numpy",
    "tiktoken",
    "rustbpe",
    "safetensors",
    "pydantic",
    "prefect",
    "mlflow",
    "minigpt-pipeline",
)
# Switches of the arithmetic libraries that change bits; the training process inherits them.
SWITCHES = (
    "ATEN_CPU_CAPABILITY",
    "ONEDNN_MAX_CPU_ISA",
    "DNNL_MAX_CPU_ISA",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "DNNL_DEFAULT_FPMATH_MODE",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
)
CODE = Path(minigpt.__file__).parent
LOCKFILE = CODE.parent / "requirements.lock"
PACKAGES = ("minigpt", "tasks", "flows")
# Where texts were read; what was read is known by its digest, and a text from the cache has no such facts.
NOT_COMPARED = ("corpus_files", "held_out_files")

FilesFacts = dict[str, dict[str, int]]


@dataclass(frozen=True)
class CorpusFacts:
    """The text, and where it came from, without passwords."""

    sha256: str
    size_bytes: int
    source: str


@dataclass(frozen=True)
class TokenCounts:
    """How many tokens each side of the text has."""

    train: int
    validation: int


class Facts(Stored):
    """What a run was made with besides its config, as facts.json holds it."""

    packages: dict[str, str]
    """The version of every installed distribution."""
    code_sha256: str
    lock_sha256: str | None
    switches: dict[str, str]
    git_commit: str | None
    """None where the code is installed and not checked out."""
    git_dirty: bool | None
    corpus: CorpusFacts
    tokens: TokenCounts
    tokenizer_sha256: str
    windows: dict[str, dict[str, str]]
    """Digests of the inputs and targets of each side."""
    corpus_files: FilesFacts | None = None
    """Name and size in bytes of each file that was `read` or `left_out`; None where the text came from elsewhere."""
    held_out_files: FilesFacts | None = None


def collect_facts(
    corpus: CorpusFacts,
    tokens: TokenCounts,
    tokenizer_sha256: str,
    windows: dict[str, dict[str, str]],
    *,
    corpus_files: FilesFacts | None = None,
    held_out_files: FilesFacts | None = None,
) -> Facts:
    """These with the versions, the digest of minigpt's own source, and the commit that it lies in, if any."""
    return Facts(
        packages=dict(sorted((found.name.lower(), found.version) for found in metadata.distributions())),
        code_sha256=code_sha256(),
        lock_sha256=sha256_of_file(LOCKFILE) if LOCKFILE.exists() else None,
        switches={name: os.environ[name] for name in SWITCHES if name in os.environ},
        git_commit=None if (commit := _git("rev-parse", "HEAD")) is None else commit.decode().strip(),
        git_dirty=None if (changes := _git("status", "--porcelain")) is None else bool(changes),
        corpus=corpus,
        tokens=tokens,
        tokenizer_sha256=tokenizer_sha256,
        windows=windows,
        corpus_files=corpus_files,
        held_out_files=held_out_files,
    )


def code_sha256() -> str:
    """Digest of every source file of minigpt: the code that decides the bits."""
    digest = hashlib.sha256()
    for path in sorted(CODE.rglob("*.py")):
        digest.update(path.relative_to(CODE).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def code_diff() -> bytes | None:
    """How the code differs from its commit, for `git apply`; None where it does not, or where there is no commit.

    A file that git does not know yet is in it as well, unless .gitignore names it.
    """
    with tempfile.TemporaryDirectory() as folder:
        index = str(Path(folder) / "index")  # the checkout's own stays as it is
        if _git("read-tree", "HEAD", index=index) is None:
            return None
        _git("add", "--intent-to-add", "--", *PACKAGES, index=index)
        form = ("--no-ext-diff", "--no-color", "--binary", "--src-prefix=a/", "--dst-prefix=b/")
        return _git("diff", *form, "HEAD", "--", *PACKAGES, index=index) or None


def _git(*arguments: str, index: str | None = None) -> bytes | None:
    """What git says of the code's own checkout; None where it is installed and not checked out, or where git fails."""
    if not (CODE.parent / ".git").exists():
        return None
    # The caller's GIT_DIR and the like, as a git hook has them, name another repository than the code's.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_INDEX_FILE": index} if index else {}
    try:
        command = ["git", "-C", str(CODE.parent), *arguments]
        return subprocess.run(command, capture_output=True, check=True, timeout=10, env=environment).stdout
    except (OSError, subprocess.SubprocessError):
        return None


def fact_differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    """One sentence for each fact that is not the same, such as `torch_threads: was 2, is 1`."""
    found = []
    for key in sorted({*before, *now} - {*NOT_COMPARED}):
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += fact_differences(old, new, f"{prefix}{key}.")
        elif old != new:
            found.append(f"{prefix}{key}: was {old}, is {new}")
    return found
