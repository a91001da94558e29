"""Checkpoints, journal and cache: whole or not there, and every flipped bit found."""

import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from minigpt import checkpoint, journal, store, tokenizer
from minigpt.errors import InputError
from minigpt.journal import Journal, Reader
from minigpt.model import ModelConfig, build
from minigpt.training import TrainingConfig, make_optimizer

MODEL = ModelConfig(context_length=4, width=8, heads=2, layers=1)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    vocabulary = tmp_path / "vocabulary"
    tokenizer.train("a b c " * 9, 257).save(vocabulary)
    model = build(MODEL, 257, seed=1)
    for step in (1, 2):
        folder = checkpoint.named(tmp_path, "last", step)
        checkpoint.save(folder, model, vocabulary, {"step": step}, make_optimizer(model, TrainingConfig()))
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
