"""A price without training: of the model that the run will have, at the prices that the config has."""

import json
from typing import Any

import pytest
import torch

from flows.config import load_config
from flows.estimate import estimate_training
from minigpt.cost.config import HARDWARE
from minigpt.errors import InputError
from minigpt.model.gpt import GPT, count_multiplied_parameters, count_parameters
from tests.conftest import Workplace


def estimates(what: str, *overrides: str, hardware: str = "cpu-2core") -> dict[str, Any]:
    [found] = json.loads(estimate_training(what, overrides, None, None, None, [hardware], as_json=True))["estimates"]
    return dict(found)


@pytest.mark.parametrize("preset", ["quickstart", "smoke", "verdict"])
def test_a_preset_is_estimated_with_the_parameters_of_its_model(preset: str) -> None:
    loaded, found = load_config(preset), estimates(preset)
    with torch.device("meta"):
        model = GPT(loaded.model, loaded.tokenizer.vocabulary_size)
    assert found["parameters"] == count_parameters(model)
    assert found["flops"] == 6 * count_multiplied_parameters(model) * found["tokens"]


def test_the_prices_are_those_of_the_config_on_its_own_hardware() -> None:
    changed = ("cost.usd_per_hour=5", "cost.watts=100", "cost.pue=2", "cost.grid_kg_per_kwh=1")
    bill, usual = estimates("quickstart", *changed)["bill"], estimates("quickstart")["bill"]
    assert bill["usd"] / usual["usd"] == pytest.approx(5 / 0.10)
    assert bill["co2_kg"] == bill["kwh"] == pytest.approx(bill["seconds"] / 3600 * 100 / 1000 * 2)
    elsewhere = estimates("quickstart", *changed, hardware="h100")["bill"]
    assert (elsewhere["usd_per_hour"], elsewhere["watts"], elsewhere["pue"]) == (6.88, 700.0, 2.0)


@pytest.mark.parametrize(
    ("what", "overrides", "parameters", "tokens", "mfu", "hardware", "flags"),
    [
        ("llama-2-7b", (), None, None, 0.5, ["h100"], "--mfu, --hardware"),
        ("llama-2-7b", ("seed=1",), None, None, None, [], "--set"),
        ("verdict", (), 7e9, 1e9, None, [], "--parameters, --tokens"),
        (None, ("seed=1",), 7e9, 1e9, None, [], "--set"),
    ],
)
def test_an_option_that_would_change_nothing_is_refused(
    what: str | None,
    overrides: tuple[str, ...],
    parameters: float | None,
    tokens: float | None,
    mfu: float | None,
    hardware: list[str],
    flags: str,
) -> None:
    with pytest.raises(InputError, match=f"^{flags} does not go with"):
        estimate_training(what, overrides, parameters, tokens, mfu, hardware, as_json=False)


def test_a_person_is_told_what_the_authors_of_llama_paid() -> None:
    told = estimate_training("llama-2-7b", (), None, None, None, [], as_json=False)
    assert "184,320" in told
    assert "691,200" in told


def test_any_size_is_estimated_on_every_hardware() -> None:
    told = json.loads(estimate_training(None, (), 7e9, 2e12, 0.5, [], as_json=True))["estimates"]
    assert [found["bill"]["hardware"] for found in told] == list(HARDWARE)
    a100 = next(found["bill"] for found in told if found["bill"]["hardware"] == "a100")
    assert a100["seconds"] == pytest.approx(6 * 7e9 * 2e12 / (0.5 * 3.12e14))


@pytest.mark.parametrize(
    ("parameters", "tokens"), [(float("nan"), 1e9), (1e9, float("inf")), (-1e9, 1e9), (1e9, 0.0), (1e30, 1.0)]
)
def test_a_size_that_nothing_has_is_refused(parameters: float, tokens: float) -> None:
    with pytest.raises(InputError, match=r"llama-2-7b.* above 0 and at most 1e.18"):
        estimate_training(None, (), parameters, tokens, None, [], as_json=False)


def test_a_model_that_is_not_known_is_told_which_are() -> None:
    with pytest.raises(InputError, match=r"'llama-3-70b' is neither a file nor one of quickstart.*llama-2-7b"):
        estimate_training("llama-3-70b", (), None, None, None, [], as_json=False)


def test_what_the_same_training_cost_here_is_told(
    smoke: dict[str, Any], workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIGPT_HOME", str(workplace.home))

    def told(*overrides: str) -> list[str]:
        notes = json.loads(estimate_training("smoke", overrides, None, None, None, [], as_json=True))["notes"]
        return [note for note in notes if "of this config took" in note]

    assert len(told()) == 1
    assert told("training.max_steps=61") == told("tokenizer.vocabulary_size=301") == []
    monkeypatch.setenv("MINIGPT_HOME", str(workplace.home / "none"))
    assert told() == []
