"""Which run the next one of its name has to beat."""

import shutil
from dataclasses import replace
from typing import Any

import pytest

from minigpt.checkpoints.folders import written_checkpoints
from minigpt.errors import InputError
from minigpt.training.job import CHECKPOINTS
from tasks.home.folders import home
from tasks.promotion.champion import champion_for, champion_sentences
from tasks.promotion.judgement import NOT_JUDGED
from tasks.promotion.weights import ship_run
from tasks.runs.files import RESULT_FILE, TRACKING_FILE
from tasks.runs.run import Run
from tasks.steps.held_out import remember_champion
from tests.conftest import Workplace
from tests.tasks.conftest import change_judgement, change_result, judged


def test_the_run_to_beat_is_the_last_that_was_to_be_shipped(copies: list[Run]) -> None:
    """By when that was said: a run that was stopped and goes on later is judged later."""
    first, better, _, now = copies
    assert champion_for(now) == better
    assert champion_for(better) == first
    change_judgement(first, time_ms=2**60)
    assert champion_for(now) == first
    change_judgement(first, objection="worse than another")
    assert champion_for(now) == better


def test_a_run_that_was_refused_is_never_the_one_to_beat(copies: list[Run]) -> None:
    """Where none was ever to be shipped it is the last of before there was a held-out text."""
    first, better, worse, now = copies
    change_judgement(better, objection="no fair test")
    change_judgement(worse, objection=NOT_JUDGED)
    change_judgement(first)
    assert champion_for(now) == first
    change_result(first, status="diverged")
    assert champion_for(now) is None
    change_result(first, status="completed", best_step=0)
    assert champion_for(now) is None
    change_result(first, best_step=30)
    assert champion_for(now) == first
    (first.folder / TRACKING_FILE).unlink()
    assert champion_for(now) is None


@pytest.mark.parametrize("lost", [TRACKING_FILE, RESULT_FILE])
def test_a_run_that_was_to_be_shipped_and_is_gone_is_missed(copies: list[Run], lost: str) -> None:
    """An older one would be beaten by what is worse than the one that was shipped."""
    first, better, _, now = copies
    judgement = judged(better)
    assert judgement.decision == "ship"
    remember_champion(better, judgement)
    change_judgement(better, time_ms=judgement.time_ms)
    assert champion_for(now) == better
    (better.folder / lost).write_bytes(b"{")
    with pytest.raises(InputError, match=f"run {better.run_id}, the champion of nightly, is gone"):
        champion_for(now)
    (home() / "shipped-nightly.json").unlink()
    assert champion_for(now) == first


def test_a_person_ships_what_the_text_would_not(copies: list[Run]) -> None:
    """Until the text says that a later one is better."""
    first, better, worse, now = copies
    [best] = written_checkpoints(worse.folder / CHECKPOINTS, "best")
    promoted = f"{best.name} of {worse.run_id[:12]} is now the champion of nightly: later runs have to beat it."
    assert ship_run(worse) == promoted
    assert champion_for(now) == worse
    judgement = judged(first)
    assert judgement.to_beat == worse.run_id
    [sentence] = champion_sentences()
    assert sentence.startswith(f"{worse.run_id[:12]} has been the champion of nightly since 20")
    change_judgement(better, time_ms=judgement.time_ms + 1000)
    assert champion_for(now) == better
    assert f"{better.run_id[:12]} has been the champion of nightly since" in "".join(champion_sentences())
    change_judgement(better, time_ms=1000)
    shutil.rmtree(worse.folder)
    [sentence] = champion_sentences()
    assert sentence.endswith("; it is gone or damaged.")
    shutil.rmtree(home() / "runs")
    assert [sentence] == list(champion_sentences())


def test_what_a_person_ships_while_a_run_ends_is_not_forgotten(copies: list[Run]) -> None:
    """It was judged before that, and is noted behind it."""
    first, _, worse, now = copies
    (worse.folder / RESULT_FILE).rename(worse.folder / "not yet")
    judgement = replace(judged(worse), objection="", decision="ship")
    ship_run(first)
    remember_champion(worse, judgement)
    (worse.folder / "not yet").rename(worse.folder / RESULT_FILE)
    change_judgement(worse, objection="", time_ms=judgement.time_ms)
    assert champion_for(now) == first
    assert f"{first.run_id[:12]} has been the champion of nightly since" in "".join(champion_sentences())


def test_a_damaged_run_that_only_a_person_shipped_need_not_be_deleted(copies: list[Run]) -> None:
    _, better, worse, _ = copies
    ship_run(worse)
    shutil.rmtree(worse.folder / CHECKPOINTS)
    [sentence] = judged(better).sentences
    assert f"or delete {home() / 'shipped-nightly.json'} to continue without it" in sentence


def test_nothing_is_shipped_that_could_not_be_measured(copies: list[Run]) -> None:
    first, better, *_ = copies
    (first.folder / RESULT_FILE).unlink()
    with pytest.raises(InputError, match=f"run {first.run_id} has no result, .* `minigpt resume {first.run_id[:12]}`"):
        ship_run(first)
    shutil.rmtree(better.folder / CHECKPOINTS)
    with pytest.raises(InputError, match=r"no intact best checkpoint; put it back from a copy$"):
        ship_run(better)
    assert not (home() / "shipped-nightly.json").exists()


def test_shipping_is_told_where_the_runs_are_listed(nights: list[dict[str, Any]], workplace: Workplace) -> None:
    for night in (nights[2], nights[1]):
        shipped = night["run_id"][:12]
        done = workplace.run("ship", shipped)
        assert done.stdout.endswith(f" of {shipped} is now the champion of nightly: later runs have to beat it.\n")
        assert f"{shipped} has been the champion of nightly since 20" in workplace.run("runs").stdout
    refused = workplace.run("ship", "nowhere")
    assert refused.returncode == 2
    assert refused.stderr.startswith("minigpt: there is no run with the id or name 'nowhere' in ")
