"""A text that decides whether a run is to be shipped."""

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import torch

from flows.config import load_config
from minigpt.checkpoints.folders import written_checkpoints
from minigpt.errors import InputError
from minigpt.evaluation.paired import PASSAGES, TextLoss, paired_difference
from minigpt.io.store import MANIFEST, write_atomically
from minigpt.training.job import CHECKPOINTS
from tasks.home.folders import home
from tasks.promotion.judgement import NOT_JUDGED, _decision, _finding
from tasks.promotion.measure import Measured
from tasks.reporting.summary import headline
from tasks.runs.files import CORPUS_FILE
from tasks.runs.result import Result
from tasks.runs.run import Run
from tasks.steps.held_out import check_held_out
from tests.conftest import Workplace
from tests.tasks.conftest import judged

ONES = torch.ones(PASSAGES, dtype=torch.float64)
NOISE = torch.linspace(-1, 1, PASSAGES, dtype=torch.float64)


def test_a_run_is_to_be_shipped_if_it_beats_the_last_that_was(nights: list[dict[str, Any]]) -> None:
    first, better, worse = (night["held_out"] for night in nights)
    assert first["to_beat"] is None
    assert first["objection"] == ""
    assert first["sentences"][0].endswith("; this home has no earlier run of this name to beat.")
    assert [night["held_out"]["decision"] for night in nights] == ["undecided", "ship", "keep"]
    assert better["to_beat"] == nights[0]["run_id"]
    assert better["saved"]["bits_per_byte"] == pytest.approx(first["bits_per_byte"] - better["bits_per_byte"])
    assert better["saved"]["bits_per_byte"] > 0.1
    assert better["objection"] == ""
    assert better["sentences"][0].endswith("ship it.")
    assert nights[1]["words"][0] == better["sentences"][0]
    assert headline(Result(**nights[1])).endswith("; ship best-0000200")
    assert "ship" not in headline(Result(**nights[0])) + headline(Result(**nights[2]))
    assert headline(Result(**nights[0])).endswith("; there was no champion to beat")
    assert worse["to_beat"] == nights[1]["run_id"]
    assert worse["objection"] == f"worse than {nights[1]['run_id'][:12]}"
    assert worse["objection"] in nights[2]["diagnosis"]


def test_the_list_of_runs_and_the_store_have_what_was_measured(
    nights: list[dict[str, Any]], workplace: Workplace
) -> None:
    listed = {run["run_id"]: run for run in workplace.json("runs")}
    with sqlite3.connect(workplace.home / "mlflow.db") as database:
        stored = dict(database.execute("select run_uuid, value from metrics where key = 'held_out/bits_per_byte'"))
    for night in nights:
        measured = night["held_out"]["bits_per_byte"]
        assert stored[night["run_id"]] == measured
        assert listed[night["run_id"]]["held_out_bits_per_byte"] == pytest.approx(measured)
        assert listed[night["run_id"]]["diagnosis"] == night["diagnosis"]
        assert listed[night["run_id"]]["decision"] == night["held_out"]["decision"]
    here = {run["run_id"]: run["decision"] for run in workplace.json("runs", "--offline")}
    assert [here[night["run_id"]] for night in nights] == ["undecided", "ship", "keep"]


@pytest.mark.slow
def test_a_rerun_measures_nothing_held_out(nights: list[dict[str, Any]], workplace: Workplace) -> None:
    """Its proof is of the bits, and the text may be gone."""
    again = workplace.json("rerun", nights[0]["run_id"])
    assert again["rerun"]["identical"]
    assert again["held_out"] is None


def test_a_text_that_is_not_there_is_refused_before_the_training(smoke: dict[str, Any], workplace: Workplace) -> None:
    runs = len(list(workplace.home.glob("runs/*")))
    done = workplace.run("run", "smoke", "--set", "held_out.source=nowhere.txt")
    assert done.returncode == 2
    [line] = done.stderr.strip().splitlines()
    assert "held_out.source: the corpus " in line
    assert "nowhere.txt does not exist" in line
    assert len(list(workplace.home.glob("runs/*"))) == runs


def test_a_text_too_short_to_tell_anything_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIGPT_HOME", str(tmp_path / "home"))
    (tmp_path / "short.txt").write_text("A short text.")
    with pytest.raises(InputError, match=r"held_out.source: .* has 13 bytes, fewer than the 3,200"):
        check_held_out(str(tmp_path / "short.txt"))


def test_an_address_is_refused_and_not_repeated() -> None:
    """It may hold a password."""
    with pytest.raises(InputError, match=r"held_out.source: this is a URL, not a path; give a file or a folder$"):
        load_config("smoke", ["held_out.source=https://user:pw@example.com/text"])


def test_what_goes_wrong_at_the_end_does_not_fail_the_run(copies: list[Run], caplog: pytest.LogCaptureFixture) -> None:
    first, better, worse, _ = copies
    gone = judged(first, "gone.txt")
    assert gone.objection == NOT_JUDGED
    assert "gone.txt does not exist" in gone.sentences[0]
    assert f"`minigpt evaluate {better.run_id[:12]} {first.run_id[:12]} --on gone.txt`" in gone.sentences[0]
    assert gone.sentences[0] in caplog.text
    [best] = written_checkpoints(better.folder / CHECKPOINTS, "best")
    manifest = json.loads((best / MANIFEST).read_text())
    manifest["model"]["of_another_version"] = 1
    write_atomically(best / MANIFEST, json.dumps(manifest).encode())
    assert judged(worse).objection == NOT_JUDGED
    next(best.glob("*.safetensors")).unlink()
    [sentence] = judged(worse).sentences
    assert f"run {better.run_id} has no intact best checkpoint; put it back from a copy" in sentence
    noted = home() / "shipped-nightly.json"
    assert f"or delete {better.folder} and {noted} to continue without it" in sentence
    noted.write_text(json.dumps({"run_id": better.run_id, "time_ms": 2**50}))
    shutil.rmtree(better.folder)
    assert f"or delete {noted} to continue without it" in judged(worse).sentences[0]
    noted.unlink()
    assert judged(worse).to_beat == first.run_id
    shutil.rmtree(worse.folder / CHECKPOINTS)
    assert "put it back from a copy); once that is repaired, `minigpt evaluate" in judged(worse).sentences[0]


def test_a_run_that_goes_on_is_judged_as_it_was(copies: list[Run], nights: list[dict[str, Any]]) -> None:
    _, _, worse, _ = copies
    again, before = judged(worse), nights[2]["held_out"]
    assert list(again.sentences) == before["sentences"]
    assert again.bits_per_byte == before["bits_per_byte"]
    assert judged(worse, status="diverged").objection == "diverged"


def test_how_much_of_the_text_was_read_is_told(copies: list[Run], tmp_path: Path) -> None:
    """A night's text may have grown by it."""
    first, better, _, _ = copies
    corpus = (first.folder / CORPUS_FILE).read_text()
    (tmp_path / "read.txt").write_text(corpus[:8_000])
    told = judged(better, tmp_path / "read.txt")
    assert told.objection == "no fair test"
    assert told.decision == "undecided"
    assert told.sentences[0].endswith("; no fair test: measure on a text that no run was trained on.")
    assert f"100.0% of this text occurs in the training text of {better.run_id[:12]}" in told.sentences[1]
    assert f"100.0% of this text occurs in the training text of {first.run_id[:12]}" in told.sentences[2]


def measured(name: str, bits: torch.Tensor, read_share: float | None = 0.0, steps: int = 9) -> Measured:
    reading = TextLoss(1.0, tokens=1, text_bytes=100 * PASSAGES, passage_bits=bits)
    return Measured(name * 32, name, f"best-{steps}", steps, "0" * 64, reading, read_share)


def finding(ours: Measured, theirs: Measured | None) -> tuple[str, str]:
    beside = (theirs, paired_difference(ours.reading, theirs.reading)) if theirs else None
    return _finding(ours, beside, "completed")


def test_what_may_be_chance_is_not_shipped() -> None:
    said, objection = finding(measured("a", 100 * ONES), measured("b", 100.1 * ONES + 10 * NOISE.flip(0)))
    assert "may be chance" in said
    assert said.endswith(f"keep {'b' * 12}")
    assert objection == f"no better than {'b' * 12}"


def test_the_same_weights_are_no_better() -> None:
    said, objection = finding(measured("a", 100 * ONES), measured("b", 100 * ONES))
    assert said == f", exactly as many as best-9 of {'b' * 12}: keep {'b' * 12}"
    assert objection == f"no better than {'b' * 12}"


@pytest.mark.parametrize(
    ("ours", "theirs", "objection"),
    [
        (0.3, 0.0, "no fair test"),
        (0.0, 0.3, "no fair test"),
        (0.06, 0.0, "no fair test"),
        (0.13, 0.12, ""),
        (0.0, 0.1, ""),
        (0.0, None, ""),  # one who has read it is the harder to beat
    ],
)
def test_a_text_that_a_model_has_read_decides_nothing(ours: float, theirs: float | None, objection: str) -> None:
    """But what texts of a kind have in common, both have read."""
    assert finding(measured("a", 100 * ONES, ours), measured("b", 120 * ONES, theirs))[1] == objection
    if theirs == 0.0:
        assert finding(measured("a", 100 * ONES, ours), None)[1] == ("no fair test" if ours >= 0.2 else "")


def test_untrained_weights_are_never_shipped() -> None:
    assert finding(measured("a", 100 * ONES, steps=0), measured("b", 120 * ONES))[1] == "nothing learnt"
    assert finding(measured("a", 100 * ONES, steps=0), None)[1] == "nothing learnt"


def test_nothing_is_kept_where_there_is_nothing_to_keep() -> None:
    assert _decision("diverged", compared=True) == "keep"
    assert _decision("diverged", compared=False) == "undecided"
