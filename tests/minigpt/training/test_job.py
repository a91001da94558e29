"""What is read back of a training job, of this format, of the one before, and of a newer one."""

import json
from pathlib import Path
from typing import Any

import pytest

from minigpt.config import Part
from minigpt.cost.config import CostConfig
from minigpt.data.config import CorpusConfig, TokenizerConfig
from minigpt.errors import InputError
from minigpt.evaluation.config import HeldOutConfig
from minigpt.model.config import ModelConfig
from minigpt.recipe import CONFIG_FILE, RunConfig
from minigpt.runtime.config import EnvironmentConfig
from minigpt.training.job import FIRST_FORMAT, JOB, TrainingJob, read_job

CONFIG = RunConfig(
    name="old",
    seed=7,
    corpus=CorpusConfig(source="book.txt", sha256="0" * 64),
    tokenizer=TokenizerConfig(vocabulary_size=300),
    model=ModelConfig(context_length=32),
    held_out=HeldOutConfig(source="held-out.txt"),
    environment=EnvironmentConfig(threads=4),
)


def values_of(part: Part) -> dict[str, Any]:
    return part.model_dump(mode="json")


def write_first_format(folder: Path) -> None:
    """As minigpt wrote job.json until it had a format: sections of the config, the prices filled in."""
    config = values_of(CONFIG)
    sections = {name: config[name] for name in FIRST_FORMAT}
    prices = {"hardware": "cpu-2core", "usd_per_hour": 0.2, "watts": 40.0, "pue": 1.1, "grid_kg_per_kwh": 0.385}
    (folder / JOB).write_text(json.dumps(sections | {"cost": prices, "tokens_folder": "/tokens"}))
    (folder / CONFIG_FILE).write_text(CONFIG.to_yaml())


def test_a_job_is_read_as_it_was_written(tmp_path: Path) -> None:
    job = TrainingJob(config=CONFIG, tokens_folder=Path("/tokens"))
    (tmp_path / JOB).write_text(job.model_dump_json())
    assert read_job(tmp_path) == job


def test_a_job_of_the_first_format_is_completed_by_the_config_beside_it(tmp_path: Path) -> None:
    write_first_format(tmp_path)
    job = read_job(tmp_path)
    assert job == TrainingJob(config=CONFIG, tokens_folder=Path("/tokens"))
    assert job.config.prices == CostConfig(usd_per_hour=0.2, watts=40.0)


def test_a_job_of_the_first_format_keeps_its_own_sections(tmp_path: Path) -> None:
    """So that an edit of config.yaml since then is seen."""
    write_first_format(tmp_path)
    edited = CONFIG.model_copy(update={"seed": 8})
    (tmp_path / CONFIG_FILE).write_text(edited.to_yaml())
    assert read_job(tmp_path).config == CONFIG


def test_a_job_of_the_first_format_without_a_config_is_refused(tmp_path: Path) -> None:
    write_first_format(tmp_path)
    (tmp_path / CONFIG_FILE).unlink()
    with pytest.raises(InputError, match=r"config\.yaml cannot be read .* restore the file from a backup$"):
        read_job(tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"format": 3}', "job.json has format 3, and this version of minigpt reads formats up to 2; take the version"),
        ('{"format": "two"}', "job.json cannot be read by this version of minigpt"),
        ('{"format": 2}', "job.json cannot be read by this version of minigpt"),
        ('{"seed": 1}', "cannot be read by this version of minigpt"),
        ("[]", "job.json cannot be read by this version of minigpt"),
        ('{"format"', "job.json cannot be read by this version of minigpt"),
    ],
)
def test_another_job_is_refused_in_one_sentence(content: str, words: str, tmp_path: Path) -> None:
    (tmp_path / JOB).write_text(content)
    (tmp_path / CONFIG_FILE).write_text(CONFIG.to_yaml())
    with pytest.raises(InputError, match=r"^[^\n]+$") as error:
        read_job(tmp_path)
    assert words in str(error.value)
