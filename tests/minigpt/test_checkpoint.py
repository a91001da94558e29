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

from minigpt import checkpoint, journal, store, tokenizer
from minigpt.errors import InputError
from minigpt.initialisation import build
from minigpt.journal import Journal, Reader
from minigpt.model import ModelConfig
from minigpt.training import TrainingConfig, make_optimizers

MODEL = ModelConfig(context_length=4, width=8, heads=2, layers=1)


def save(*parts: Any) -> None:
    store.finish_folder(checkpoint.begin(*parts))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    vocabulary = tmp_path / "vocabulary"
    tokenizer.train(["a b c " * 9], 257).save(vocabulary)
    model = build(MODEL, 257, seed=1)
    for step in (1, 2):
        folder = checkpoint.named(tmp_path, "last", step)
        save(folder, model, vocabulary, {"step": step}, make_optimizers(model, TrainingConfig()))
    return checkpoint.named(tmp_path, "last", 2)


def test_a_checkpoint_is_all_that_sampling_needs(saved: Path, tmp_path: Path) -> None:
    elsewhere = shutil.copytree(saved, tmp_path / "elsewhere")
    model, vocabulary = checkpoint.load(elsewhere)
    assert model.config == MODEL
    assert vocabulary.vocabulary_size == 257
    weights = checkpoint.weights_of(build(MODEL, 257, seed=1))
    assert checkpoint.weights_sha256(checkpoint.weights_of(model)) == checkpoint.weights_sha256(weights)


@pytest.mark.parametrize("seed", range(60))
def test_every_flipped_bit_is_found(saved: Path, seed: int) -> None:
    source = random.Random(seed)  # noqa: S311
    path = source.choice(sorted(p for p in saved.iterdir() if p.name != store.MANIFEST))
    data = bytearray(path.read_bytes() or b"\0")
    data[source.randrange(len(data))] ^= 1 << source.randrange(8)
    path.unlink()  # a linked file would change elsewhere too
    path.write_bytes(data)
    with pytest.raises(InputError, match="missing or damaged"):
        checkpoint.load(saved)
    assert checkpoint.newest(saved.parent, "last") == checkpoint.named(saved.parent, "last", 1)


@pytest.mark.parametrize("name", [checkpoint.WEIGHTS, checkpoint.OPTIMIZER, tokenizer.TOKENIZER, store.MANIFEST])
@pytest.mark.parametrize("damage", ["missing", "empty", "truncated"])
def test_every_broken_file_is_found(saved: Path, name: str, damage: str) -> None:
    data = (saved / name).read_bytes()
    (saved / name).unlink()
    if damage != "missing":
        (saved / name).write_bytes(b"" if damage == "empty" else data[: len(data) // 2])
    with pytest.raises(InputError, match="missing or damaged"):
        checkpoint.load(saved)


def spoil(path: Path, data: bytes) -> None:
    path.unlink()  # a linked file would change elsewhere too
    path.write_bytes(data)


@pytest.mark.parametrize("name", [checkpoint.WEIGHTS, checkpoint.OPTIMIZER, tokenizer.TOKENIZER])
def test_a_flipped_byte_is_found_at_fifty_places_of_each_file(saved: Path, name: str) -> None:
    data = (saved / name).read_bytes()
    source = random.Random(name)  # noqa: S311
    for _ in range(50):
        place = source.randrange(len(data))
        spoil(saved / name, data[:place] + bytes([data[place] ^ source.randrange(1, 256)]) + data[place + 1 :])
        with pytest.raises(InputError, match="missing or damaged"):
            checkpoint.load(saved)
    spoil(saved / name, data)
    checkpoint.load(saved)


def test_a_flipped_byte_of_the_manifest_is_found(saved: Path) -> None:
    """Every byte of it; one in a key, a shape or a step counts as much as one in a weight."""
    data, unnoticed = (saved / store.MANIFEST).read_bytes(), []
    for place in range(len(data)):
        (saved / store.MANIFEST).write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        if checkpoint.newest(saved.parent, "last") == saved:
            unnoticed.append(place)
    assert not unnoticed


@pytest.mark.parametrize(
    "pair", [(checkpoint.WEIGHTS, checkpoint.OPTIMIZER), (checkpoint.WEIGHTS, tokenizer.TOKENIZER)]
)
def test_swapped_files_are_found(saved: Path, pair: tuple[str, str]) -> None:
    one, other = ((saved / name).read_bytes() for name in pair)
    spoil(saved / pair[0], other)
    spoil(saved / pair[1], one)
    with pytest.raises(InputError, match="missing or damaged"):
        checkpoint.load(saved)


def test_weights_of_another_step_are_found(saved: Path) -> None:
    other = build(MODEL, 257, seed=2)
    save(checkpoint.named(saved.parent, "last", 3), other, saved / tokenizer.TOKENIZER, {"step": 3})
    spoil(saved / checkpoint.WEIGHTS, (checkpoint.named(saved.parent, "last", 3) / checkpoint.WEIGHTS).read_bytes())
    with pytest.raises(InputError, match="missing or damaged"):
        checkpoint.load_weights(saved, other)


def test_a_checkpoint_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere is missing or damaged; choose another checkpoint"):
        checkpoint.load(tmp_path / "nowhere")


def test_the_newest_is_the_newest_whole_one(saved: Path) -> None:
    place, model = saved.parent, build(MODEL, 257, seed=1)
    for step in (3, 20):
        save(checkpoint.named(place, "last", step), model, saved / tokenizer.TOKENIZER, {"step": step})
    save(checkpoint.named(place, "best", 99), model, saved / tokenizer.TOKENIZER, {"step": 99})
    for step in (20, 3, 2, 1):
        folder = checkpoint.named(place, "last", step)
        assert checkpoint.newest(place, "last") == folder
        (folder / checkpoint.WEIGHTS).write_bytes(b"")
    assert checkpoint.newest(place, "last") is None
    assert checkpoint.newest(place / "nowhere", "last") is None


def names(place: Path) -> list[str]:
    return sorted(path.name for path in place.glob("*-*"))


def prune(folder: Path, kept: int, keep_every_steps: int | None = None) -> None:
    for path in checkpoint.superseded(folder, "last", kept, keep_every_steps):
        shutil.rmtree(path)


def test_pruning_keeps_the_newer_ones_and_the_other_kind(saved: Path) -> None:
    place, model = saved.parent, build(MODEL, 257, seed=1)
    save(checkpoint.named(place, "best", 1), model, saved / tokenizer.TOKENIZER, {})
    prune(saved, kept=2)
    assert names(place) == ["best-0000001", "last-0000001", "last-0000002"]
    prune(checkpoint.named(place, "last", 1), kept=1)
    assert names(place) == ["best-0000001", "last-0000001", "last-0000002"]
    prune(saved, kept=1)
    assert names(place) == ["best-0000001", "last-0000002"]


def test_pruning_keeps_round_steps(saved: Path) -> None:
    place, model = saved.parent, build(MODEL, 257, seed=1)
    for step in range(3, 8):
        folder = checkpoint.named(place, "last", step)
        save(folder, model, saved / tokenizer.TOKENIZER, {"step": step})
    prune(folder, kept=2, keep_every_steps=3)
    assert names(place) == ["last-0000003", "last-0000006", "last-0000007"]


def test_nothing_is_pruned_for_a_checkpoint_that_is_not_whole(saved: Path) -> None:
    spoil(saved / checkpoint.WEIGHTS, b"")
    with pytest.raises(OSError, match="does not read back as it was written"):
        prune(saved, kept=1)
    assert names(saved.parent) == ["last-0000001", "last-0000002"]


def test_a_run_goes_on_from_a_whole_checkpoint_or_not_at_all(saved: Path) -> None:
    place, one, two = saved.parent, "last-0000001", "last-0000002"
    assert checkpoint.to_continue(place, [one, two]) == (saved, [])
    spoil(saved / checkpoint.WEIGHTS, b"")
    assert checkpoint.to_continue(place, [one, two]) == (place / one, [two])
    shutil.rmtree(place / one)
    for known in ([], [one, two]):
        with pytest.raises(InputError, match=f"no checkpoint in .* is whole, the newest was {two}"):
            checkpoint.to_continue(place, known)
    shutil.rmtree(saved)
    with pytest.raises(InputError, match=f"the newest was {two}"):
        checkpoint.to_continue(place, [one, two, "best-0000003"])
    assert checkpoint.to_continue(place, ["best-0000003"]) == (None, [])


def test_a_disk_without_room_is_refused(tmp_path: Path) -> None:
    model = build(MODEL, 257, seed=1)
    checkpoint.check_room(tmp_path, model, full_checkpoints=3)
    with pytest.raises(InputError, match=r"make room, .* or lower training\.kept_checkpoints"):
        checkpoint.check_room(tmp_path, model, full_checkpoints=10**12)


def test_the_order_of_checkpoints_is_that_of_their_steps(tmp_path: Path) -> None:
    for step in (9_999_999, 10_000_000):
        store.write_folder(checkpoint.named(tmp_path, "last", step), lambda _: {})
    assert checkpoint.newest(tmp_path, "last") == checkpoint.named(tmp_path, "last", 10_000_000)


def test_saving_again_replaces_the_checkpoint(saved: Path) -> None:
    other = build(MODEL, 257, seed=2)
    vocabulary = shutil.copyfile(saved / tokenizer.TOKENIZER, saved.parent / "copy")
    save(saved, other, vocabulary, {"step": 2})
    assert not (saved / checkpoint.OPTIMIZER).exists()
    loaded, _ = checkpoint.load(saved)
    assert checkpoint.weights_sha256(checkpoint.weights_of(loaded)) == digest(other)


def digest(model: torch.nn.Module) -> str:
    return checkpoint.weights_sha256(checkpoint.weights_of(model))


def test_the_weights_digest_is_stable_and_sees_the_last_bit() -> None:
    model = build(MODEL, 257, seed=1)
    weights = checkpoint.weights_of(model)
    assert checkpoint.weights_sha256(dict(reversed(weights.items()))) == digest(model) == digest(build(MODEL, 257, 1))
    before = digest(model)
    with torch.no_grad():
        model.head.weight[0, 0] = torch.nextafter(model.head.weight[0, 0], torch.tensor(9.0))
    assert digest(model) != before


def test_the_weights_digest_sees_names_shapes_and_types() -> None:
    zeros = torch.zeros(2, 3)
    others = [{"b": zeros}, {"a": torch.zeros(3, 2)}, {"a": zeros.to(torch.int32)}, {"a": zeros, "b": zeros}]
    digests = {checkpoint.weights_sha256(weights) for weights in [{"a": zeros}, *others]}
    assert len(digests) == 5
    strided = torch.arange(6.0).view(2, 3).t()
    assert checkpoint.weights_sha256({"a": strided}) == checkpoint.weights_sha256({"a": strided.contiguous()})


@pytest.mark.parametrize("tied", [True, False])
def test_a_tied_head_is_saved_once_and_comes_back_tied(tmp_path: Path, tied: bool) -> None:
    tokenizer.train(["a b c " * 9], 257).save(tmp_path / "vocabulary")
    model = build(MODEL.model_copy(update={"tied_head": tied}), 257, seed=1)
    assert ("head.weight" in checkpoint.weights_of(model)) != tied
    save(tmp_path / "last-1", model, tmp_path / "vocabulary", {})
    loaded, _ = checkpoint.load(tmp_path / "last-1")
    assert (loaded.head.weight is loaded.token_embedding.weight) == tied
    assert digest(loaded) == digest(model)


def test_a_kill_while_saving_leaves_the_one_before_whole(saved: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from minigpt import checkpoint\n"
        "model, _ = checkpoint.load(Path(sys.argv[1]))\n"
        "checkpoint.shutil.copyfile = lambda *_: os.kill(os.getpid(), 9)  # when the weights are written\n"
        "place = Path(sys.argv[1]).parent\n"
        "checkpoint.begin(checkpoint.named(place, 'last', 3), model, place / 'vocabulary', {'step': 3})"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(saved)], env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert killed.returncode == -9
    assert checkpoint.newest(saved.parent, "last") == saved
    checkpoint.load(saved)


def test_nothing_temporary_is_left(saved: Path) -> None:
    assert not list(saved.parent.rglob("*.tmp"))


def test_a_torn_line_is_cut_and_never_read(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    writer, reader = Journal(path), Reader(path)
    writer.append("step", step=1, loss=0.1)
    with path.open("ab") as file:
        file.write(b'{"kind": "st')
    assert [record["step"] for record in reader.new_records()] == [1]
    writer.close()
    Journal(path).append("step", step=2, loss=0.2)
    assert [record["step"] for record in reader.new_records()] == [2]
    assert journal.curve(journal.read(path)) == [(1, 0.1), (2, 0.2)]


def test_the_curve_digest_sees_the_last_bit() -> None:
    assert journal.curve_sha256([(1, 0.1)]) != journal.curve_sha256([(1, 0.1 + 2**-56)])
    assert journal.curve_sha256([(1, 0.1)]) == journal.curve_sha256([(1, 0.1)])


def test_the_cache_fills_once_and_mends_itself(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from minigpt.store import produce\n"
        "def fill(place):\n"
        "    with open(sys.argv[1] + '/filled', 'a') as log: log.write('x')\n"
        "    time.sleep(0.3); (place / 'data').write_text('whole'); return {'n': 1}\n"
        "print(produce(Path(sys.argv[1]), 'kind', {'a': 1}, fill).facts['n'])"
    )
    together = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path)]) for _ in range(4)]
    assert [process.wait() for process in together] == [0] * 4
    assert (tmp_path / "filled").read_text() == "x"
    (entry,) = (tmp_path / "kind").glob("[!.]*")
    (entry / "data").write_text("holed")
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    assert (entry / "data").read_text() == "whole"
