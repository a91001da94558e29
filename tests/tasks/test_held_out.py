"""A text that decides whether a run is to be shipped."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from minigpt.checkpoint import written
from minigpt.errors import InputError
from minigpt.job import CHECKPOINTS
from minigpt.passages import PASSAGES, Reading, difference
from tasks.held_out import _finding, check, judge, run_to_beat
from tasks.reading import Measured
from tasks.runs import RESULT, TRACKING, saved
from tests.conftest import Workplace

README = Path(__file__).parents[2] / "README.md"
ONES = torch.ones(PASSAGES, dtype=torch.float64)
NOISE = torch.linspace(-1, 1, PASSAGES, dtype=torch.float64)


@pytest.fixture(scope="module")
def nights(smoke: dict[str, Any], workplace: Workplace) -> list[dict[str, Any]]:
    """Three runs of one name: of 30 steps, of 200, and of 31; the text is no corpus of theirs."""
    held_out = ("--set", "name=nightly", "--set", f"held_out.source={README}")
    return [
        workplace.json("run", "smoke", *held_out, "--set", f"training.max_steps={steps}") for steps in (30, 200, 31)
    ]


def test_a_run_is_to_be_shipped_if_it_beats_the_last_that_was(nights: list[dict[str, Any]]) -> None:
    first, better, worse = (night["held_out"] for night in nights)
    assert first["to_beat"] is None
    assert first["objection"] == ""
    assert "no earlier run of this name" in first["sentence"]
    assert better["to_beat"] == nights[0]["run_id"]
    assert better["saved"]["bits_per_byte"] == pytest.approx(first["bits_per_byte"] - better["bits_per_byte"])
    assert better["saved"]["bits_per_byte"] > 0.1
    assert better["objection"] == ""
    assert better["sentence"].endswith("ship it.")
    assert nights[1]["words"][0] == better["sentence"]
    assert worse["to_beat"] == nights[1]["run_id"]
    assert worse["objection"] == f"worse than {nights[1]['run_id'][:12]}"
    assert worse["objection"] in nights[2]["diagnosis"]


def test_a_night_that_was_not_shipped_is_not_the_one_to_beat(
    nights: list[dict[str, Any]], workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIGPT_HOME", str(workplace.home))
    other = run_to_beat(saved(Path(nights[2]["run_dir"])))
    assert other is not None
    assert other.run_id == nights[1]["run_id"]


def test_the_list_of_runs_and_the_store_have_what_was_measured(
    nights: list[dict[str, Any]], workplace: Workplace
) -> None:
    listed = {run["run_id"]: run for run in workplace.json("runs")}
    for night in nights:
        row = listed[night["run_id"]]
        assert row["held_out_bits_per_byte"] == pytest.approx(night["held_out"]["bits_per_byte"])
        assert row["diagnosis"] == night["diagnosis"]


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
    assert "nowhere.txt is not there" in line
    assert len(list(workplace.home.glob("runs/*"))) == runs


def test_a_text_too_short_to_tell_anything_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIGPT_HOME", str(tmp_path / "home"))
    (tmp_path / "short.txt").write_text("A short text.")
    with pytest.raises(InputError, match=r"held_out.source: .* has 13 bytes, fewer than the 3,200"):
        check(str(tmp_path / "short.txt"))


def test_a_text_that_is_gone_at_the_end_does_not_fail_the_run(
    nights: list[dict[str, Any]], workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIGPT_HOME", str(workplace.home))
    from minigpt.job import read_job

    folder = Path(nights[0]["run_dir"])
    judgement = judge.fn(saved(folder), read_job(folder), "gone.txt")
    assert judgement.objection == "not judged"
    assert "gone.txt is not there" in judgement.sentence
    assert judgement.bits_per_byte is None


def test_a_run_whose_best_weights_are_damaged_is_passed_over(
    nights: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIGPT_HOME", str(tmp_path))
    for night in nights:
        folder = Path(night["run_dir"])
        shutil.copytree(folder, tmp_path / "runs" / folder.name, ignore=shutil.ignore_patterns("artifacts"))
    last = saved(tmp_path / "runs" / nights[2]["run_id"])
    [best] = written(tmp_path / "runs" / nights[1]["run_id"] / CHECKPOINTS, "best")
    next(best.glob("*.safetensors")).write_bytes(b"")
    other = run_to_beat(last)
    assert other is not None
    assert other.run_id == nights[0]["run_id"]
    # One of before there were held-out texts is beaten where nothing was ever to be shipped.
    result = tmp_path / "runs" / nights[0]["run_id"] / RESULT
    values = json.loads(result.read_text())
    result.write_text(json.dumps({key: value for key, value in values.items() if key != "held_out"}))
    assert run_to_beat(last) == other
    (tmp_path / "runs" / nights[0]["run_id"] / TRACKING).unlink()
    assert run_to_beat(last) is None


def measured(name: str, bits: torch.Tensor, read_share: float | None = 0.0, steps: int = 9) -> Measured:
    reading = Reading(1.0, tokens=1, text_bytes=100 * PASSAGES, passage_bits=bits)
    return Measured(name * 32, name, f"best-{steps}", steps, "0" * 64, reading, read_share)


def finding(ours: Measured, theirs: Measured) -> tuple[str, str]:
    return _finding(ours, theirs, difference(ours.reading, theirs.reading))


def test_what_may_be_chance_is_not_shipped() -> None:
    said, objection = finding(measured("a", 100 * ONES), measured("b", 100.1 * ONES + 10 * NOISE.flip(0)))
    assert "may be chance" in said
    assert said.endswith(f"keep {'b' * 12}")
    assert objection == f"no better than {'b' * 12}"


def test_a_text_that_a_model_has_read_decides_nothing() -> None:
    better, worse = 100 * ONES, 120 * ONES
    for ours, theirs in ((0.3, 0.0), (0.0, 0.3)):
        said, objection = finding(measured("a", better, ours), measured("b", worse, theirs))
        assert "30% of it stands in the training text of" in said
        assert objection == "no fair test"
    assert finding(measured("a", better, None), measured("b", worse, None))[1] == ""


def test_untrained_weights_are_never_shipped() -> None:
    assert finding(measured("a", 100 * ONES, steps=0), measured("b", 120 * ONES))[1] == "nothing learnt"
    assert _finding(measured("a", 100 * ONES, steps=0), None, None)[1] == "nothing learnt"
