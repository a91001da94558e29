"""What is said about a curve, at the edges of its rules."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt.evaluation.diagnosis import LOSS_GAP, LOSS_TOLERANCE, diagnose, diagnosis_findings
from minigpt.evaluation.memorization import COPY_TOKENS, copy_words, is_memorized, longest_copy
from minigpt.io.records import EvaluationRecord
from tests import records

LOSSES = st.floats(0, 20)


def curve(*losses: tuple[float, float]) -> list[EvaluationRecord]:
    """Evaluations at steps 0, 10, 20, ... of (train, val)."""
    return [records.evaluation(10 * n, train, val) for n, (train, val) in enumerate(losses)]


def sentences(evaluations: list[EvaluationRecord], status: str, kept_step: int) -> list[str]:
    return [finding.sentence for finding in diagnosis_findings(evaluations, status, kept_step)]


@pytest.mark.parametrize(
    ("above", "since"), [(0.0, None), (LOSS_TOLERANCE - 1e-9, None), (LOSS_TOLERANCE + 1e-9, 10), (1.0, 10)]
)
def test_over_fitting_has_a_margin(above: float, since: int | None) -> None:
    assert LOSS_TOLERANCE == 0.01
    assert diagnose(curve((3, 5), (3, 4), (3, 4 + above))).overfitting_since_step == since


def test_a_curve_that_comes_back_is_not_over_fitted() -> None:
    assert diagnose(curve((3, 5), (3, 4), (3, 4.5), (3, 4.005))).overfitting_since_step is None


def test_of_two_equal_minima_the_first_counts() -> None:
    found = diagnose(curve((3, 5), (3, 4), (3, 4), (3, 4.2)))
    assert (found.best_step, found.overfitting_since_step) == (10, 10)


@pytest.mark.parametrize(("above", "since"), [(LOSS_GAP - 1e-9, None), (LOSS_GAP, None), (LOSS_GAP + 1e-9, 10)])
def test_the_gap_has_a_margin(above: float, since: int | None) -> None:
    assert diagnose(curve((3, 3), (3, 3 + above))).gap_since_step == since


@given(st.lists(st.tuples(LOSSES, LOSSES), min_size=1))
def test_every_curve_has_a_diagnosis_that_fits_it(losses: list[tuple[float, float]]) -> None:
    found, evaluations = diagnose(curve(*losses)), curve(*losses)
    val = [v for _, v in losses]
    assert found.best_val_loss == min(val) == val[found.best_step // 10]
    worse = losses[-1][0] > losses[found.best_step // 10][0] + LOSS_TOLERANCE
    risen = val[-1] > min(val) + LOSS_TOLERANCE
    assert (found.overfitting_since_step is not None) == (risen and not worse)
    assert (found.worse_since_step is not None) == (risen and worse)
    if found.gap_since_step is not None:
        train_loss, val_loss = losses[found.gap_since_step // 10]
        assert val_loss - train_loss > LOSS_GAP
    said = " ".join(sentences(evaluations, "completed", 0))
    assert ("Worse since step" in said) == (found.worse_since_step is not None)
    assert ("Over-fitting since step" in said) == (found.overfitting_since_step is not None)
    assert ("nat above" in said) == (found.gap_since_step is not None)


@pytest.mark.parametrize(("last", "said"), [(3.98, "still falling"), (3.995, "level at the end")])
def test_a_falling_curve_is_told_from_a_level_one(last: float, said: str) -> None:
    assert said in " ".join(sentences(curve((3, 5), (3, 4), (3, last)), "completed", 20))


def test_a_rate_that_is_too_high_is_not_called_over_fitting() -> None:
    curves = curve((5, 5), (3, 4), (4, 4.5))
    assert (diagnose(curves).worse_since_step, diagnose(curves).overfitting_since_step) == (10, None)
    [sentence] = sentences(curves, "completed", 20)
    assert "rose from 4.000 to 4.500" in sentence
    assert "lower the learning rate" in sentence


def test_a_divergence_names_the_weights_that_were_kept_and_no_trend() -> None:
    [sentence] = sentences(curve((5, 5), (4, 4.5)), "diverged", 10)
    assert "weights of step 10 were kept" in sentence


def test_the_reference_curve_over_fits() -> None:
    """The Verdict as published: lowest at step 50 with 6.123, and 0.569/6.373 at step 85 (shared/ORACLES.md)."""
    published: list[EvaluationRecord] = [
        records.evaluation(step, train, val)
        for step, train, val in ((0, 9.817, 9.924), (50, 2.0, 6.123), (85, 0.569, 6.373))
    ]
    assert diagnose(published).overfitting_since_step == 50
    assert "rose from 6.123 to 6.373" in " ".join(sentences(published, "completed", 85))


@pytest.mark.parametrize(
    ("losses", "status", "found"),
    [
        (((4, 5), (3, 4), (3, 3.9)), "completed", [("still_falling", "info", 20)]),
        (((4, 5), (3, 4), (3, 3.995)), "completed", [("level", "info", 20)]),
        (((4, 5), (3, 3.5), (3, 3.9)), "completed", [("over_fitting", "warning", 10)]),
        (((3, 3.5), (2, 3.4), (2, 3.9)), "completed", [("over_fitting", "warning", 10), ("gap", "warning", 10)]),
        (((5, 5), (3, 4), (4, 4.5)), "completed", [("worse", "warning", 10)]),
        (((3, 3.5), (2, 3.4), (3, 3.3)), "completed", [("still_falling", "info", 20), ("passing_gap", "info", 10)]),
        (((6, 6), (9, 9.5), (9, 9.6)), "completed", [("nothing_learnt", "error", 0), ("worse", "warning", 0)]),
        (((5, 5), (4, 4.5)), "diverged", [("diverged", "error", 10)]),
    ],
)
def test_each_finding_has_a_kind_a_severity_and_a_step(
    losses: tuple[tuple[float, float], ...], status: str, found: list[tuple[str, str, int]]
) -> None:
    findings = diagnosis_findings(curve(*losses), status, 10)
    assert [(finding.kind, finding.severity, finding.step) for finding in findings] == found


def test_noise_is_a_finding_beside_the_rise() -> None:
    level = [(3.5, 4 + noise) for noise in (0.02, -0.01, 0.03, -0.02, 0.01, 0.02)]
    [rise, chance] = diagnosis_findings(curve((4, 5), *level), "completed", 60)
    assert (rise.kind, chance.kind, chance.severity, chance.step) == ("over_fitting", "may_be_chance", "info", 40)


def brute_force(sample: list[int], training: list[int]) -> int:
    """The longest common run of tokens, from every pair of places."""
    longest = 0
    for i in range(len(sample)):
        for j in range(len(training)):
            length = 0
            while sample[i + length : i + length + 1] == training[j + length : j + length + 1] != []:
                length += 1
            longest = max(longest, length)
    return longest


@given(st.lists(st.integers(0, 2), max_size=12), st.lists(st.integers(0, 2), max_size=12))
def test_the_longest_copy_is_the_longest_common_run(sample: list[int], training: list[int]) -> None:
    assert longest_copy(sample, training) == brute_force(sample, training)


@given(st.lists(st.integers(0, 65_535), max_size=12))
def test_a_sample_is_a_copy_of_itself_whatever_its_tokens(tokens: list[int]) -> None:
    assert longest_copy(tokens, [7, *tokens, 7]) == len(tokens)


def test_a_trend_is_not_told_from_two_steps_that_follow_each_other() -> None:
    evaluations = curve((3, 5), (3, 4.1), (3, 4.0))
    evaluations.append(records.evaluation(21, 3, 3.999))
    assert "still falling" in " ".join(sentences(evaluations, "completed", 21))


def test_what_a_gap_means_is_told_in_numbers_while_there_is_one() -> None:
    [_, said] = sentences(curve((3, 3.5), (2, 3.5), (1.6, 3.4)), "completed", 20)
    assert "From step 10 on" in said
    assert "at the end by 1.80" in said
    assert "6.0 times the probability" in said
    [_, closed] = sentences(curve((3, 3.5), (2, 3.5), (3, 3.4)), "completed", 20)
    assert closed.startswith("At step 10, though not at every later evaluation")
    assert "times the probability" not in closed


def test_a_model_that_never_beats_the_untrained_one_is_nothing_to_ship() -> None:
    evaluations = curve((6, 6), (9, 9.5), (9, 9.6))
    said = " ".join(sentences(evaluations, "completed", 20))
    assert "nothing to ship" in said
    assert "ship the best" not in said
    assert diagnose(evaluations).in_short == "nothing learnt"
    assert "nothing to ship" not in " ".join(sentences(curve((6, 6), (5, 5.9), (9, 9.6)), "completed", 20))
    assert not diagnose(curve((6, 6))).learnt_nothing


@pytest.mark.parametrize(("losses", "said"), [((3, 4.5), "over-fitting since 10"), ((4, 4.5), "worse since 10")])
def test_what_keeps_the_last_weights_from_being_shipped_is_told_in_short(
    losses: tuple[float, float], said: str
) -> None:
    assert diagnose(curve((5, 5), (3, 4), losses)).in_short == said
    assert diagnose(curve((5, 5), (3, 4), (3, 3.5))).in_short == ""


def test_blanks_and_dashes_are_no_memory() -> None:
    dashes, sentence = [5] * 40, list(range(100, 140))
    assert longest_copy(dashes, [1, *dashes, 2]) == COPY_TOKENS - 1
    assert longest_copy([5, 6] * 20, [5, 6] * 30) == COPY_TOKENS - 1
    assert longest_copy(sentence, [1, *sentence, 2]) == len(sentence)
    assert longest_copy([*dashes[:10], *sentence], [1, *dashes[:10], *sentence, 2]) == 10 + len(sentence)


def test_a_long_copy_in_few_kinds_of_tokens_counts_in_full_and_is_found_quickly() -> None:
    letters = [7, 8, 9, 10, 11] * 30
    training = list(range(100, 20_000)) + letters
    assert longest_copy(letters, training) == len(letters)
    started = time.perf_counter()
    assert longest_copy([7] * 1000, [7] * 50_000) == COPY_TOKENS - 1
    assert time.perf_counter() - started < 5


def test_a_rise_within_the_noise_may_be_chance() -> None:
    level = [(3.0, 4 + noise) for noise in (0.02, -0.01, 0.03, -0.02, 0.01, 0.02)]
    found = diagnose(curve((3, 5), *level))
    assert found.overfitting_since_step == 40
    assert found.may_be_chance
    assert found.in_short == "over-fitting since 40 (may be chance)"
    assert "may be chance" in " ".join(sentences(curve((3, 5), *level), "completed", 60))
    risen = diagnose(curve((3, 5), *level, (3.0, 4.5)))
    assert not risen.may_be_chance
    steady = curve((3, 5), *((3, 4 + 0.02 * n) for n in range(7)))
    assert not diagnose(steady).may_be_chance
    assert not diagnose(curve((3, 5), (3, 4), (3, 4.05))).may_be_chance, "two evaluations tell nothing about noise"


@pytest.mark.parametrize(
    "val",
    [
        (9.2, 5.1, 4.2, 4.0, 4.1, 4.4),
        (9.2, 4.2, 4.0, 4.4),
        (9.0, 4.2, 4.0, 4.5, 5.3),
        (9.0, *(4 + 0.05 * (step - 6) ** 2 for step in range(10))),
        (9.0, *(4 + 0.002 * (step - 32) ** 2 for step in range(40))),
    ],
)
def test_the_bend_of_a_curve_without_noise_is_no_chance(val: tuple[float, ...]) -> None:
    found = diagnose(curve(*((3.0, loss) for loss in val)))
    assert found.overfitting_since_step is not None
    assert not found.may_be_chance


def test_a_copy_that_unread_text_has_as_well_is_no_memory() -> None:
    assert is_memorized(0.0)
    assert copy_words(31, 0.0).startswith("Memorization: 31 tokens in a row")
    assert "none of the validation text's passages of the sample's size share a run this long" in copy_words(31, 0.0)
    assert is_memorized(0.05)
    assert "5.0% of the validation text's passages of the sample's size share a run this long" in copy_words(31, 0.05)
    assert not is_memorized(0.06)
    assert "Memorization" not in copy_words(31, 0.06)
    assert "but 6% of the validation text's passages of the sample's size share a run this long" in copy_words(31, 0.06)
