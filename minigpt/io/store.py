"""Files and folders that are either complete or absent.

Everything is written under a temporary name, flushed to the disk and renamed. A cache entry is a folder named by the
digest of its inputs; its manifest, with the digest of every file and of itself, is written last.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from minigpt.errors import FailedError

MANIFEST = "manifest.json"


def sha256_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_value(value: Any) -> str:
    """sha256 of a JSON value, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()


def fsync(path: Path) -> None:
    """Flush a file's bytes, or a folder's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that a reader sees either the old or the new bytes, never a part of them."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        fsync(temporary)
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)
    fsync(path.parent)


@dataclass(frozen=True)
class PendingFolder:
    """A folder under a temporary name, whose files are all written but not yet flushed to the disk."""

    folder: Path
    temporary: Path
    facts: Mapping[str, Any]


def fill_folder(folder: Path, fill: Callable[[Path], Mapping[str, Any]]) -> PendingFolder:
    """Let `fill` write the files of `folder` under a temporary name; `finish_folder` then renames it.

    `fill` gets the temporary folder and returns facts (JSON) for the manifest.
    """
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        return PendingFolder(folder, temporary, fill(temporary))
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def finish_folder(filled: PendingFolder) -> dict[str, Any]:
    """Flush the files, add the manifest with their digests and the facts, rename the folder; return the manifest."""
    try:
        files = sorted(path for path in filled.temporary.iterdir() if path.is_file())
        for path in files:
            fsync(path)
        manifest = {**filled.facts, "files": {path.name: sha256_of_file(path) for path in files}}
        manifest["sha256"] = sha256_of_value(manifest)
        write_atomically(filled.temporary / MANIFEST, _rendered(manifest))
        filled.temporary.rename(filled.folder)
    finally:
        shutil.rmtree(filled.temporary, ignore_errors=True)
    fsync(filled.folder.parent)
    return manifest


def write_folder(folder: Path, fill: Callable[[Path], Mapping[str, Any]]) -> dict[str, Any]:
    """Write `folder` with the files of `fill` and a manifest of the facts that it returns; return the manifest."""
    return finish_folder(fill_folder(folder, fill))


def _rendered(manifest: Mapping[str, Any]) -> bytes:
    return json.dumps(manifest, indent=1, sort_keys=True).encode()


def read_folder(folder: Path) -> dict[str, Any] | None:
    """The manifest of a folder; None if the manifest or any file is missing or changed."""
    try:
        data = (folder / MANIFEST).read_bytes()
        manifest = json.loads(data)
        facts = {key: value for key, value in manifest.items() if key != "sha256"}
        # Compare bytes as well: a flipped bit can leave the values equal (1e-5 and 1E-5).
        intact = data == _rendered(manifest) and manifest["sha256"] == sha256_of_value(facts)
        intact = intact and all(sha256_of_file(folder / name) == digest for name, digest in manifest["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return manifest if intact else None


def delete_temporaries(folder: Path) -> None:
    """Delete the temporary files of killed processes; no other process may be writing in the folder."""
    for path in folder.glob(".*.tmp"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


@dataclass(frozen=True)
class CacheEntry:
    """A cache entry: its folder, its manifest, and `reused`, which is True if it existed before."""

    folder: Path
    facts: dict[str, Any]
    reused: bool

    @property
    def digest(self) -> str:
        return self.folder.name


def _folder(cache: Path, kind: str, made_from: Mapping[str, Any]) -> Path:
    folder = cache / kind / sha256_of_value(made_from)[:32]
    if not folder.resolve().is_relative_to(cache.resolve()):
        raise FailedError(
            f"{folder} leads to {folder.resolve()}, outside the cache; remove that link, or link the entire cache"
        )
    return folder


def find_entry(cache: Path, kind: str, made_from: Mapping[str, Any]) -> CacheEntry | None:
    """The intact entry whose inputs are exactly `made_from` (JSON), or None."""
    folder = _folder(cache, kind, made_from)
    facts = read_folder(folder)
    return None if facts is None else CacheEntry(folder, facts, reused=True)


def get_or_make(
    cache: Path, kind: str, made_from: Mapping[str, Any], fill: Callable[[Path], Mapping[str, Any]]
) -> CacheEntry:
    """The entry for `made_from`; if there is none, `fill` writes it. Only one process at a time fills an entry."""
    folder = _folder(cache, kind, made_from)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if entry := find_entry(cache, kind, made_from):
            return entry
        for left in (folder, *folder.parent.glob(f".{folder.name}.*.tmp")):  # damaged, or left by a killed process
            shutil.rmtree(left, ignore_errors=True)
        facts = write_folder(folder, lambda place: {"made_from": dict(made_from), **fill(place)})
        return CacheEntry(folder, facts, reused=False)


def link_or_copy(source: Path, target: Path) -> None:
    """Hard-link `source`, which must never change again, to `target`; copy it if the file system has no hard links.

    `target` is either complete or absent, even if the process is killed.
    """
    for left in target.parent.glob(f".{target.name}.*.tmp"):  # by a killed process
        left.unlink(missing_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
            fsync(temporary)
        temporary.rename(target)
    finally:  # rename does nothing if both names are already links to the same file
        temporary.unlink(missing_ok=True)
