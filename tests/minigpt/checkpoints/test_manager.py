"""Checkpoints written while the model goes on learning."""

import os
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from minigpt.checkpoints.folders import checkpoint_folder
from minigpt.checkpoints.format import WEIGHTS_FILE, begin_checkpoint, load_checkpoint, weights_of, weights_sha256
from minigpt.checkpoints.manager import CheckpointManager
from minigpt.data.tokenizer import train_bpe
from minigpt.io.journal import Journal, read_journal
from minigpt.io.store import finish_folder
from minigpt.model.config import ModelConfig
from minigpt.model.gpt import GPT
from minigpt.model.init import build_model

MODEL = ModelConfig(context_length=8, width=8, heads=2, layers=1)


@pytest.fixture
def model() -> GPT:
    return build_model(MODEL, 257, seed=1)


@pytest.fixture
def saver(tmp_path: Path) -> CheckpointManager:
    train_bpe(["a b c " * 9], 257).save(tmp_path / "vocabulary")
    (tmp_path / "checkpoints").mkdir()
    written = Journal(tmp_path / "journal.jsonl")
    return CheckpointManager(tmp_path / "checkpoints", tmp_path / "vocabulary", written, ["best-0000001"])


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """A disk that flushes nothing before the event."""
    flushed, fsync = threading.Event(), os.fsync

    def wait(descriptor: int) -> None:
        if threading.current_thread() is not threading.main_thread():
            assert flushed.wait(30)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", wait)
    return flushed


def names(place: Path) -> list[str]:
    return sorted(path.name for path in (place / "checkpoints").glob("[!.]*"))


def recorded(place: Path) -> list[Any]:
    return [record.name for record in read_journal(place / "journal.jsonl")]


def test_a_model_that_goes_on_learning_is_saved_as_it_was(
    saver: CheckpointManager, model: GPT, slow_disk: threading.Event, tmp_path: Path
) -> None:
    digest = weights_sha256(weights_of(model))
    saver.save("last", model, {"step": 2})
    with torch.no_grad():
        for weight in model.parameters():
            weight += 1
    saver.note()
    assert (names(tmp_path), recorded(tmp_path)) == ([], [])
    slow_disk.set()
    saver.finish()
    assert (names(tmp_path), recorded(tmp_path)) == (["last-0000002"], ["last-0000002"])
    saved, _ = load_checkpoint(tmp_path / "checkpoints" / "last-0000002")
    assert weights_sha256(weights_of(saved)) == digest


def test_a_checkpoint_is_whole_before_the_next_is_begun(
    saver: CheckpointManager, model: GPT, slow_disk: threading.Event, tmp_path: Path
) -> None:
    saver.save("best", model, {"step": 2})
    threading.Timer(0.2, slow_disk.set).start()
    saver.save("last", model, {"step": 2})
    assert recorded(tmp_path)[0] == "best-0000002"
    saver.finish()
    assert recorded(tmp_path) == ["best-0000002", "last-0000002"]


def test_what_is_superseded_goes_when_the_next_is_begun_or_all_is_done(
    saver: CheckpointManager, model: GPT, tmp_path: Path
) -> None:
    for step in (1, 2):
        saver.save("best", model, {"step": step})
    while len(recorded(tmp_path)) < 1:
        saver.note()
    assert names(tmp_path) == ["best-0000001", "best-0000002"]
    saver.save("best", model, {"step": 3})
    assert "best-0000001" not in names(tmp_path)
    saver.finish()
    assert names(tmp_path) == ["best-0000003"]


def test_one_that_was_written_and_recorded_before_is_neither_again(
    saver: CheckpointManager, model: GPT, tmp_path: Path
) -> None:
    saver.save("best", model, {"step": 1})
    saver.finish()
    kept = (tmp_path / "checkpoints" / "best-0000001" / WEIGHTS_FILE).open("rb")  # so that its number is not free
    written = (tmp_path / "checkpoints" / "best-0000001").stat().st_ino
    saver.save("best", model, {"step": 1})
    saver.finish()
    assert (tmp_path / "checkpoints" / "best-0000001").stat().st_ino == written
    with kept:
        assert os.fstat(kept.fileno()).st_nlink == 1
    assert recorded(tmp_path) == []


def test_what_the_disk_refuses_is_raised_at_the_next_step(
    saver: CheckpointManager, model: GPT, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(descriptor: int) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    saver.save("last", model, {"step": 2})

    def step_until_told() -> None:
        while True:
            saver.note()

    with pytest.raises(OSError, match="no space left"):
        step_until_told()
    assert names(tmp_path) == []
    assert not list((tmp_path / "checkpoints").iterdir())


def test_what_a_kill_kept_from_going_goes_first(saver: CheckpointManager, model: GPT, tmp_path: Path) -> None:
    place, vocabulary = tmp_path / "checkpoints", tmp_path / "vocabulary"
    for prefix, steps in (("last", (3, 6, 9)), ("best", (4, 8))):
        for step in steps:
            finish_folder(begin_checkpoint(checkpoint_folder(place, prefix, step), model, vocabulary, {"step": step}))
    CheckpointManager(place, vocabulary, Journal(tmp_path / "journal.jsonl"), []).finish()
    assert names(tmp_path) == ["best-0000008", "last-0000006", "last-0000009"]
