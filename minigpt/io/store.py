"""Files and folders that are either whole or not there.

Everything is written under a temporary name, flushed to the disk and renamed. A cache entry is a folder named by the
digest of all that it was made from; its manifest, with the digest of every file and of itself, is written last.
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
    """Digest of a JSON value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()


def fsync(path: Path) -> None:
    """Flush a file's bytes, or a folder's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, data: bytes) -> None:
    """Put `data` at `path` so that a reader sees the old bytes or the new ones, never a part."""
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
    """A folder under a temporary name, with all its files and not yet flushed to the disk."""

    folder: Path
    temporary: Path
    facts: Mapping[str, Any]


def fill_folder(folder: Path, fill: Callable[[Path], Mapping[str, Any]]) -> PendingFolder:
    """Let `fill` write files for `folder`, which is not there before `finish_folder`."""
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        return PendingFolder(folder, temporary, fill(temporary))
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def finish_folder(filled: PendingFolder) -> dict[str, Any]:
    """Flush the files, add the manifest with their digests and the facts that `fill` returned, and put it in place."""
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
    """Make `folder` with what `fill` writes into it, and a manifest of the facts that `fill` returns."""
    return finish_folder(fill_folder(folder, fill))


def _rendered(manifest: Mapping[str, Any]) -> bytes:
    return json.dumps(manifest, indent=1, sort_keys=True).encode()


def read_folder(folder: Path) -> dict[str, Any] | None:
    """The manifest of a folder whose every file still has its digest; None if it is missing, cut short or changed."""
    try:
        data = (folder / MANIFEST).read_bytes()
        manifest = json.loads(data)
        facts = {key: value for key, value in manifest.items() if key != "sha256"}
        # A flipped bit can leave the values as they were: 1e-5 and 1E-5.
        whole = data == _rendered(manifest) and manifest["sha256"] == sha256_of_value(facts)
        whole = whole and all(sha256_of_file(folder / name) == digest for name, digest in manifest["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return manifest if whole else None


def delete_temporaries(folder: Path) -> None:
    """Delete what a killed process was writing; nobody else may write in the folder."""
    for path in folder.glob(".*.tmp"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


@dataclass(frozen=True)
class CacheEntry:
    """One cache entry: its folder, the facts in its manifest, and whether it was there before."""

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
            f"{folder} leads out of the cache to {folder.resolve()}; remove that link, or make the whole cache one"
        )
    return folder


def find_entry(cache: Path, kind: str, made_from: Mapping[str, Any]) -> CacheEntry | None:
    """The whole entry made from exactly `made_from` (JSON), if it is there."""
    folder = _folder(cache, kind, made_from)
    facts = read_folder(folder)
    return None if facts is None else CacheEntry(folder, facts, reused=True)


def get_or_make(
    cache: Path, kind: str, made_from: Mapping[str, Any], fill: Callable[[Path], Mapping[str, Any]]
) -> CacheEntry:
    """The same, filled if it is not there; one process fills at a time."""
    folder = _folder(cache, kind, made_from)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if entry := find_entry(cache, kind, made_from):
            return entry
        for left in (folder, *folder.parent.glob(f".{folder.name}.*.tmp")):  # damaged, or of a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        facts = write_folder(folder, lambda place: {"made_from": dict(made_from), **fill(place)})
        return CacheEntry(folder, facts, reused=False)


def link_or_copy(source: Path, target: Path) -> None:
    """A second name for a file that is never changed again; a copy where the file system has no links.

    Whole or not there, as all else: a kill leaves no part of a copy under the name.
    """
    for left in target.parent.glob(f".{target.name}.*.tmp"):  # by a process that was killed here
        left.unlink(missing_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
            fsync(temporary)
        temporary.rename(target)
    finally:  # also where both names are of that very file already, which a rename leaves as they are
        temporary.unlink(missing_ok=True)
