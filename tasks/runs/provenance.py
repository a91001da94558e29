"""The provenance of a run: packages, code, lock file and data. Each run records it, and a rerun compares it."""

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
from minigpt.io.source_digest import PACKAGES
from minigpt.io.store import sha256_of_file
from tasks.runs.files import Stored

# The packages that decide the weights, the flow or the curves. All other packages are recorded as well.
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
# Environment variables with which the math libraries give other bits; the training process inherits them.
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
# File lists say where a text was read, and are absent if it came from the cache. Its digest says what was read.
NOT_COMPARED = ("corpus_files", "held_out_files")

FilesFacts = dict[str, dict[str, int]]


@dataclass(frozen=True)
class CorpusFacts:
    """The digest and size of a corpus, and its source without passwords."""

    sha256: str
    size_bytes: int
    source: str


@dataclass(frozen=True)
class TokenCounts:
    """The number of tokens on each side of the split."""

    train: int
    validation: int


class Facts(Stored):
    """The provenance of a run besides its config, as stored in facts.json."""

    packages: dict[str, str]
    """The version of every installed distribution."""
    code_sha256: str
    lock_sha256: str | None
    switches: dict[str, str]
    git_commit: str | None
    """None if the code is not in a git checkout."""
    git_dirty: bool | None
    corpus: CorpusFacts
    tokens: TokenCounts
    tokenizer_sha256: str
    windows: dict[str, dict[str, str]]
    """Digests of the input and target windows, by side."""
    corpus_files: FilesFacts | None = None
    """Size in bytes by file name, for the files `read` and `left_out`; None if the text was not read from files."""
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
    """Complete the given facts with package versions, the digest of minigpt's source, and its git commit, if any."""
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
    """SHA-256 over the paths and contents of minigpt's source files, the code that decides the weights."""
    digest = hashlib.sha256()
    for path in sorted(CODE.rglob("*.py")):
        digest.update(path.relative_to(CODE).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def code_diff() -> bytes | None:
    """The uncommitted changes of the code, for `git apply`; None if there are none, or no commit.

    Untracked files are included, unless .gitignore lists them.
    """
    with tempfile.TemporaryDirectory() as folder:
        index = str(Path(folder) / "index")  # leaves the checkout's own index untouched
        if _git("read-tree", "HEAD", index=index) is None:
            return None
        _git("add", "--intent-to-add", "--", *PACKAGES, index=index)
        form = ("--no-ext-diff", "--no-color", "--binary", "--src-prefix=a/", "--dst-prefix=b/")
        return _git("diff", *form, "HEAD", "--", *PACKAGES, index=index) or None


def _git(*arguments: str, index: str | None = None) -> bytes | None:
    """Run git in the checkout of the code and return its output; None if there is no checkout or git fails."""
    if not (CODE.parent / ".git").exists():
        return None
    # A git hook sets GIT_DIR and similar variables, which would select the caller's repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_INDEX_FILE": index} if index else {}
    try:
        command = ["git", "-C", str(CODE.parent), *arguments]
        return subprocess.run(command, capture_output=True, check=True, timeout=10, env=environment).stdout
    except (OSError, subprocess.SubprocessError):
        return None


def fact_differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    """List the facts that differ, such as `torch_threads: was 2, is 1`; nested facts are joined with dots."""
    found = []
    for key in sorted({*before, *now} - {*NOT_COMPARED}):
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += fact_differences(old, new, f"{prefix}{key}.")
        elif old != new:
            found.append(f"{prefix}{key}: was {old}, is {new}")
    return found
