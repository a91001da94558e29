"""Files, folders and the cache: whole or not there, filled once, mended when damaged."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt.errors import FailedError
from minigpt.io.store import (
    MANIFEST,
    find_entry,
    get_or_make,
    link_or_copy,
    read_folder,
    sha256_of_value,
    write_atomically,
    write_folder,
)

MADE_FROM = {"text": "abc", "size": 3}


class FillError(Exception):
    pass


class Filler:
    """Fills a cache entry and counts how often it had to."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, place: Path) -> dict[str, Any]:
        self.times += 1
        (place / "data").write_bytes(b"whole")
        (place / "more").write_bytes(b"")
        return {"count": 5}


def hidden(folder: Path) -> list[str]:
    """Names of what is left over, locks apart."""
    return [path.name for path in folder.rglob(".*") if path.suffix != ".lock"]


def test_an_entry_is_filled_once_and_then_reused(tmp_path: Path) -> None:
    fill = Filler()
    assert find_entry(tmp_path, "kind", MADE_FROM) is None
    first = get_or_make(tmp_path, "kind", MADE_FROM, fill)
    second = get_or_make(tmp_path, "kind", dict(reversed(MADE_FROM.items())), fill)
    assert (first.reused, second.reused, fill.times) == (False, True, 1)
    assert first.facts == second.facts
    assert first.facts["count"] == 5
    assert first.facts["made_from"] == MADE_FROM
    assert first.digest == sha256_of_value(MADE_FROM)[:32]
    assert (first.folder / "data").read_bytes() == b"whole"
    assert not hidden(tmp_path)


def test_what_is_made_from_anything_else_is_another_entry(tmp_path: Path) -> None:
    fill = Filler()
    get_or_make(tmp_path, "kind", MADE_FROM, fill)
    get_or_make(tmp_path, "kind", {**MADE_FROM, "size": 4}, fill)
    get_or_make(tmp_path, "other", MADE_FROM, fill)
    assert fill.times == 3


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])


DAMAGE: list[Callable[[Path], None]] = [
    lambda folder: flip(folder / "data"),
    lambda folder: cut(folder / "data"),
    lambda folder: (folder / "data").unlink(),
    lambda folder: (folder / "more").write_bytes(b"x"),
    lambda folder: (folder / MANIFEST).unlink(),
    lambda folder: cut(folder / MANIFEST),
    lambda folder: (folder / MANIFEST).write_bytes(b""),
    lambda folder: (folder / MANIFEST).write_bytes(b"[]"),
    lambda folder: (folder / MANIFEST).write_bytes(b'{"files": null}'),
    lambda folder: (folder / MANIFEST).write_bytes(b"\xff"),
]


@pytest.mark.parametrize("damage", DAMAGE, ids=range(len(DAMAGE)))
def test_a_damaged_entry_is_filled_again(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    fill = Filler()
    entry = get_or_make(tmp_path, "kind", MADE_FROM, fill)
    damage(entry.folder)
    assert find_entry(tmp_path, "kind", MADE_FROM) is None
    assert not get_or_make(tmp_path, "kind", MADE_FROM, fill).reused
    assert fill.times == 2
    assert (entry.folder / "data").read_bytes() == b"whole"
    assert get_or_make(tmp_path, "kind", MADE_FROM, fill).reused


def test_a_filling_that_fails_leaves_nothing_and_holds_no_lock(tmp_path: Path) -> None:
    def fail(place: Path) -> dict[str, Any]:
        (place / "data").write_bytes(b"half")
        raise FillError

    with pytest.raises(FillError):
        get_or_make(tmp_path, "kind", MADE_FROM, fail)
    assert find_entry(tmp_path, "kind", MADE_FROM) is None
    assert not hidden(tmp_path)
    assert not get_or_make(tmp_path, "kind", MADE_FROM, Filler()).reused


@pytest.mark.parametrize("linked", ["entry", "kind"])
def test_a_link_out_of_the_cache_is_not_followed(tmp_path: Path, linked: str) -> None:
    elsewhere, cache = tmp_path / "elsewhere", tmp_path / "cache"
    elsewhere.mkdir()
    kept = elsewhere / "kept"
    kept.write_text("mine")
    folder = get_or_make(cache, "tokens", MADE_FROM, Filler()).folder
    link = folder if linked == "entry" else folder.parent
    link.rename(tmp_path / "aside")
    link.symlink_to(elsewhere)
    filler = Filler()
    with pytest.raises(FailedError, match=rf"leads to {elsewhere}\S*, outside the cache"):
        get_or_make(cache, "tokens", MADE_FROM, filler)
    assert (filler.times, list(elsewhere.iterdir()), kept.read_text()) == (0, [kept], "mine")


def test_a_cache_may_be_a_link_itself(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "cache").symlink_to(tmp_path / "disk")
    assert get_or_make(tmp_path / "cache", "tokens", MADE_FROM, Filler()).facts["count"] == 5


def test_who_is_killed_while_filling_stops_nobody(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from minigpt.io.store import get_or_make\n"
        "def fill(place):\n"
        "    (place / 'data').write_text('half'); os.kill(os.getpid(), 9)\n"
        f"get_or_make(Path(sys.argv[1]), 'kind', {MADE_FROM!r}, fill)"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path)])
    assert killed.returncode == -9
    assert list((tmp_path / "kind").glob(".*.tmp"))
    entry = get_or_make(tmp_path, "kind", MADE_FROM, Filler())
    assert (entry.folder / "data").read_bytes() == b"whole"
    assert not list((tmp_path / "kind").glob(".*.tmp"))


def test_a_manifest_has_the_digest_of_every_file(tmp_path: Path) -> None:
    facts = write_folder(tmp_path / "deep" / "folder", Filler())
    assert facts["files"] == {
        "data": hashlib.sha256(b"whole").hexdigest(),
        "more": hashlib.sha256(b"").hexdigest(),
    }
    assert json.loads((tmp_path / "deep" / "folder" / MANIFEST).read_text()) == facts
    assert read_folder(tmp_path / "deep" / "folder") == facts


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        write_atomically(tmp_path / "folder", b"data")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def test_a_linked_file_takes_the_place_of_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"new")
    (tmp_path / "target").write_bytes(b"old")
    link_or_copy(tmp_path / "source", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"new"


def test_what_a_killed_process_left_of_a_link_goes(tmp_path: Path) -> None:
    (tmp_path / "source").write_text("text")
    (tmp_path / ".target.123.tmp").write_text("te")
    (tmp_path / ".other.123.tmp").write_text("of another file")
    link_or_copy(tmp_path / "source", tmp_path / "target")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.123.tmp", "source", "target"]


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.booleans())))
def test_a_values_digest_does_not_depend_on_the_order_of_its_keys(value: dict[str, object]) -> None:
    assert sha256_of_value(value) == sha256_of_value(dict(reversed(value.items())))
    assert sha256_of_value(value) != sha256_of_value({**value, "\0another": 1})


def test_a_value_that_json_does_not_know_has_no_digest() -> None:
    with pytest.raises(ValueError, match="JSON"):
        sha256_of_value({"x": float("nan")})


def test_a_manifest_is_its_bytes_and_not_only_its_values(tmp_path: Path) -> None:
    folder = tmp_path / "entry"
    write_folder(folder, lambda _: {"seconds": 1e-5})
    path = folder / MANIFEST
    path.write_bytes(path.read_bytes().replace(b"1e-05", b"1E-05"))
    assert read_folder(folder) is None
