"""Checkpoints, journal and cache: whole or not there, and every flipped bit found."""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from minigpt.checkpoints.folders import checkpoint_folder, checkpoint_to_resume, newest_intact, superseded_checkpoints
from minigpt.checkpoints.format import (
    OPTIMIZER_FILE,
    WEIGHTS_FILE,
    begin_checkpoint,
    check_disk_space,
    load_checkpoint,
    load_weights,
    weights_of,
    weights_sha256,
)
from minigpt.data.tokenizer import TOKENIZER_FILE, train_bpe
from minigpt.errors import InputError
from minigpt.io.journal import Journal, JournalReader, curve_sha256, loss_curve, read_journal
from minigpt.io.store import MANIFEST, finish_folder, write_folder
from minigpt.model.config import ModelConfig
from minigpt.model.init import build_model
from minigpt.training.config import TrainingConfig
from minigpt.training.optimizers import make_optimizers
from tests import records

MODEL = ModelConfig(context_length=4, width=8, heads=2, layers=1)


def save(*parts: Any) -> None:
    finish_folder(begin_checkpoint(*parts))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    vocabulary = tmp_path / "vocabulary"
    train_bpe(["a b c " * 9], 257).save(vocabulary)
    model = build_model(MODEL, 257, seed=1)
    for step in (1, 2):
        folder = checkpoint_folder(tmp_path, "last", step)
        save(folder, model, vocabulary, {"step": step}, make_optimizers(model, TrainingConfig()))
    return checkpoint_folder(tmp_path, "last", 2)


def test_a_checkpoint_is_all_that_sampling_needs(saved: Path, tmp_path: Path) -> None:
    elsewhere = shutil.copytree(saved, tmp_path / "elsewhere")
    model, vocabulary = load_checkpoint(elsewhere)
    assert model.config == MODEL
    assert vocabulary.vocabulary_size == 257
    weights = weights_of(build_model(MODEL, 257, seed=1))
    assert weights_sha256(weights_of(model)) == weights_sha256(weights)


@pytest.mark.parametrize("seed", range(60))
def test_every_flipped_bit_is_found(saved: Path, seed: int) -> None:
    source = random.Random(seed)  # noqa: S311
    path = source.choice(sorted(p for p in saved.iterdir() if p.name != MANIFEST))
    data = bytearray(path.read_bytes() or b"\0")
    data[source.randrange(len(data))] ^= 1 << source.randrange(8)
    path.unlink()  # a linked file would change elsewhere too
    path.write_bytes(data)
    with pytest.raises(InputError, match="missing or damaged"):
        load_checkpoint(saved)
    assert newest_intact(saved.parent, "last") == checkpoint_folder(saved.parent, "last", 1)


@pytest.mark.parametrize("name", [WEIGHTS_FILE, OPTIMIZER_FILE, TOKENIZER_FILE, MANIFEST])
@pytest.mark.parametrize("damage", ["missing", "empty", "truncated"])
def test_every_broken_file_is_found(saved: Path, name: str, damage: str) -> None:
    data = (saved / name).read_bytes()
    (saved / name).unlink()
    if damage != "missing":
        (saved / name).write_bytes(b"" if damage == "empty" else data[: len(data) // 2])
    with pytest.raises(InputError, match="missing or damaged"):
        load_checkpoint(saved)


def spoil(path: Path, data: bytes) -> None:
    path.unlink()  # a linked file would change elsewhere too
    path.write_bytes(data)


@pytest.mark.parametrize("name", [WEIGHTS_FILE, OPTIMIZER_FILE, TOKENIZER_FILE])
def test_a_flipped_byte_is_found_at_fifty_places_of_each_file(saved: Path, name: str) -> None:
    data = (saved / name).read_bytes()
    source = random.Random(name)  # noqa: S311
    for _ in range(50):
        place = source.randrange(len(data))
        spoil(saved / name, data[:place] + bytes([data[place] ^ source.randrange(1, 256)]) + data[place + 1 :])
        with pytest.raises(InputError, match="missing or damaged"):
            load_checkpoint(saved)
    spoil(saved / name, data)
    load_checkpoint(saved)


def test_a_flipped_byte_of_the_manifest_is_found(saved: Path) -> None:
    """Every byte of it; one in a key, a shape or a step counts as much as one in a weight."""
    data, unnoticed = (saved / MANIFEST).read_bytes(), []
    for place in range(len(data)):
        (saved / MANIFEST).write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        if newest_intact(saved.parent, "last") == saved:
            unnoticed.append(place)
    assert not unnoticed


@pytest.mark.parametrize("pair", [(WEIGHTS_FILE, OPTIMIZER_FILE), (WEIGHTS_FILE, TOKENIZER_FILE)])
def test_swapped_files_are_found(saved: Path, pair: tuple[str, str]) -> None:
    one, other = ((saved / name).read_bytes() for name in pair)
    spoil(saved / pair[0], other)
    spoil(saved / pair[1], one)
    with pytest.raises(InputError, match="missing or damaged"):
        load_checkpoint(saved)


def test_weights_of_another_step_are_found(saved: Path) -> None:
    other = build_model(MODEL, 257, seed=2)
    save(checkpoint_folder(saved.parent, "last", 3), other, saved / TOKENIZER_FILE, {"step": 3})
    spoil(saved / WEIGHTS_FILE, (checkpoint_folder(saved.parent, "last", 3) / WEIGHTS_FILE).read_bytes())
    with pytest.raises(InputError, match="missing or damaged"):
        load_weights(saved, other)


def test_a_checkpoint_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere is missing or damaged; choose another checkpoint"):
        load_checkpoint(tmp_path / "nowhere")


def test_the_newest_is_the_newest_whole_one(saved: Path) -> None:
    place, model = saved.parent, build_model(MODEL, 257, seed=1)
    for step in (3, 20):
        save(checkpoint_folder(place, "last", step), model, saved / TOKENIZER_FILE, {"step": step})
    save(checkpoint_folder(place, "best", 99), model, saved / TOKENIZER_FILE, {"step": 99})
    for step in (20, 3, 2, 1):
        folder = checkpoint_folder(place, "last", step)
        assert newest_intact(place, "last") == folder
        (folder / WEIGHTS_FILE).write_bytes(b"")
    assert newest_intact(place, "last") is None
    assert newest_intact(place / "nowhere", "last") is None


def names(place: Path) -> list[str]:
    return sorted(path.name for path in place.glob("*-*"))


def prune(folder: Path, kept: int, keep_every_steps: int | None = None) -> None:
    for path in superseded_checkpoints(folder, "last", kept, keep_every_steps):
        shutil.rmtree(path)


def test_pruning_keeps_the_newer_ones_and_the_other_kind(saved: Path) -> None:
    place, model = saved.parent, build_model(MODEL, 257, seed=1)
    save(checkpoint_folder(place, "best", 1), model, saved / TOKENIZER_FILE, {})
    prune(saved, kept=2)
    assert names(place) == ["best-0000001", "last-0000001", "last-0000002"]
    prune(checkpoint_folder(place, "last", 1), kept=1)
    assert names(place) == ["best-0000001", "last-0000001", "last-0000002"]
    prune(saved, kept=1)
    assert names(place) == ["best-0000001", "last-0000002"]


def test_pruning_keeps_round_steps(saved: Path) -> None:
    place, model = saved.parent, build_model(MODEL, 257, seed=1)
    for step in range(3, 8):
        folder = checkpoint_folder(place, "last", step)
        save(folder, model, saved / TOKENIZER_FILE, {"step": step})
    prune(folder, kept=2, keep_every_steps=3)
    assert names(place) == ["last-0000003", "last-0000006", "last-0000007"]


def test_nothing_is_pruned_for_a_checkpoint_that_is_not_whole(saved: Path) -> None:
    spoil(saved / WEIGHTS_FILE, b"")
    with pytest.raises(OSError, match="does not read back as written"):
        prune(saved, kept=1)
    assert names(saved.parent) == ["last-0000001", "last-0000002"]


def test_a_run_goes_on_from_a_whole_checkpoint_or_not_at_all(saved: Path) -> None:
    place, one, two = saved.parent, "last-0000001", "last-0000002"
    assert checkpoint_to_resume(place, [one, two]) == (saved, [])
    spoil(saved / WEIGHTS_FILE, b"")
    assert checkpoint_to_resume(place, [one, two]) == (place / one, [two])
    shutil.rmtree(place / one)
    for known in ([], [one, two]):
        with pytest.raises(InputError, match=f"no checkpoint in .* is intact, the newest was {two}"):
            checkpoint_to_resume(place, known)
    shutil.rmtree(saved)
    with pytest.raises(InputError, match=f"the newest was {two}"):
        checkpoint_to_resume(place, [one, two, "best-0000003"])
    assert checkpoint_to_resume(place, ["best-0000003"]) == (None, [])


def test_a_disk_without_room_is_refused(tmp_path: Path) -> None:
    model = build_model(MODEL, 257, seed=1)
    check_disk_space(tmp_path, model, full_checkpoints=3)
    with pytest.raises(InputError, match=r"make room, .* or lower training\.kept_checkpoints"):
        check_disk_space(tmp_path, model, full_checkpoints=10**12)


def test_the_order_of_checkpoints_is_that_of_their_steps(tmp_path: Path) -> None:
    for step in (9_999_999, 10_000_000):
        write_folder(checkpoint_folder(tmp_path, "last", step), lambda _: {})
    assert newest_intact(tmp_path, "last") == checkpoint_folder(tmp_path, "last", 10_000_000)


def test_saving_again_replaces_the_checkpoint(saved: Path) -> None:
    other = build_model(MODEL, 257, seed=2)
    vocabulary = shutil.copyfile(saved / TOKENIZER_FILE, saved.parent / "copy")
    save(saved, other, vocabulary, {"step": 2})
    assert not (saved / OPTIMIZER_FILE).exists()
    loaded, _ = load_checkpoint(saved)
    assert weights_sha256(weights_of(loaded)) == digest(other)


def digest(model: torch.nn.Module) -> str:
    return weights_sha256(weights_of(model))


def test_the_weights_digest_is_stable_and_sees_the_last_bit() -> None:
    model = build_model(MODEL, 257, seed=1)
    weights = weights_of(model)
    assert weights_sha256(dict(reversed(weights.items()))) == digest(model) == digest(build_model(MODEL, 257, 1))
    before = digest(model)
    with torch.no_grad():
        model.head.weight[0, 0] = torch.nextafter(model.head.weight[0, 0], torch.tensor(9.0))
    assert digest(model) != before


def test_the_weights_digest_sees_names_shapes_and_types() -> None:
    zeros = torch.zeros(2, 3)
    others = [{"b": zeros}, {"a": torch.zeros(3, 2)}, {"a": zeros.to(torch.int32)}, {"a": zeros, "b": zeros}]
    digests = {weights_sha256(weights) for weights in [{"a": zeros}, *others]}
    assert len(digests) == 5
    strided = torch.arange(6.0).view(2, 3).t()
    assert weights_sha256({"a": strided}) == weights_sha256({"a": strided.contiguous()})


@pytest.mark.parametrize("tied", [True, False])
def test_a_tied_head_is_saved_once_and_comes_back_tied(tmp_path: Path, tied: bool) -> None:
    train_bpe(["a b c " * 9], 257).save(tmp_path / "vocabulary")
    model = build_model(MODEL.model_copy(update={"tied_head": tied}), 257, seed=1)
    assert ("head.weight" in weights_of(model)) != tied
    save(tmp_path / "last-1", model, tmp_path / "vocabulary", {})
    loaded, _ = load_checkpoint(tmp_path / "last-1")
    assert (loaded.head.weight is loaded.token_embedding.weight) == tied
    assert digest(loaded) == digest(model)


def test_a_kill_while_saving_leaves_the_one_before_whole(saved: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from minigpt.checkpoints import folders, format as checkpoint\n"
        "model, _ = checkpoint.load_checkpoint(Path(sys.argv[1]))\n"
        "checkpoint.shutil.copyfile = lambda *_: os.kill(os.getpid(), 9)  # when the weights are written\n"
        "place = Path(sys.argv[1]).parent\n"
        "folder = folders.checkpoint_folder(place, 'last', 3)\n"
        "checkpoint.begin_checkpoint(folder, model, place / 'vocabulary', {'step': 3})"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(saved)], env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert killed.returncode == -9
    assert newest_intact(saved.parent, "last") == saved
    load_checkpoint(saved)


def test_nothing_temporary_is_left(saved: Path) -> None:
    assert not list(saved.parent.rglob("*.tmp"))


def test_a_torn_line_is_cut_and_never_read(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    writer, reader = Journal(path), JournalReader(path)
    writer.append(records.step(1, loss=0.1))
    with path.open("ab") as file:
        file.write(b'{"kind": "st')
    assert [record.step for record in reader.new_records()] == [1]
    writer.close()
    Journal(path).append(records.step(2, loss=0.2))
    assert [record.step for record in reader.new_records()] == [2]
    assert loss_curve(read_journal(path)) == [(1, 0.1), (2, 0.2)]


def test_the_curve_digest_sees_the_last_bit() -> None:
    assert curve_sha256([(1, 0.1)]) != curve_sha256([(1, 0.1 + 2**-56)])
    assert curve_sha256([(1, 0.1)]) == curve_sha256([(1, 0.1)])


def test_the_cache_fills_once_and_mends_itself(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from minigpt.io.store import get_or_make\n"
        "def fill(place):\n"
        "    with open(sys.argv[1] + '/filled', 'a') as log: log.write('x')\n"
        "    time.sleep(0.3); (place / 'data').write_text('whole'); return {'n': 1}\n"
        "print(get_or_make(Path(sys.argv[1]), 'kind', {'a': 1}, fill).facts['n'])"
    )
    together = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path)]) for _ in range(4)]
    assert [process.wait() for process in together] == [0] * 4
    assert (tmp_path / "filled").read_text() == "x"
    (entry,) = (tmp_path / "kind").glob("[!.]*")
    (entry / "data").write_text("holed")
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    assert (entry / "data").read_text() == "whole"
