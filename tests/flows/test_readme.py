"""README names commands and options that there are, and each command."""

import re
from pathlib import Path

import typer

from flows.cli.main import app
from flows.config import presets
from minigpt.training.config import TrainingConfig

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
COMMANDS = getattr(typer.main.get_command(app), "commands")  # noqa: B009  (a group has them)


def test_every_command_is_told_and_no_other() -> None:
    assert set(re.findall(r"`minigpt (\w+)", README)) == set(COMMANDS)


def test_every_option_that_is_told_is_there() -> None:
    there = {name for command in COMMANDS.values() for parameter in command.params for name in parameter.opts}
    told = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README))
    assert {"--set", "--json", "--offline"} <= told <= there | {"--help"}


def test_every_preset_is_told() -> None:
    assert {preset for preset in presets() if f"`{preset}`" in README} == set(presets())


def test_fields_that_are_told_are_there() -> None:
    told = set(re.findall(r"`training\.(\w+)", README))
    assert told
    assert told <= set(TrainingConfig.model_fields)
