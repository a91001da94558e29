"""README and its neighbours name what there is: commands, options, presets, fields, files, modules."""

import pkgutil
import re
from pathlib import Path

import pytest
import typer

import minigpt
from flows.cli.main import app
from flows.config import presets
from minigpt.training.config import TrainingConfig

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = getattr(typer.main.get_command(app), "commands")  # noqa: B009  (a group has them)
MOST_WORDS = 1200


def test_every_command_is_named_and_no_other() -> None:
    assert set(re.findall(r"`minigpt (\w+)", README)) == set(COMMANDS)
    screens = "".join(re.split(r"```\w*\n", README)[1::2])
    assert set(re.findall(r"^(?:\$ )?minigpt (\w+)", screens, re.MULTILINE)) <= set(COMMANDS)


def test_every_option_that_is_named_is_there() -> None:
    there = {name for command in COMMANDS.values() for parameter in command.params for name in parameter.opts}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README))
    assert {"--set", "--json", "--offline"} <= named <= there | {"--help"}


def test_every_preset_is_named() -> None:
    assert {preset for preset in presets() if f"`{preset}`" in README} == set(presets())


def test_fields_that_are_named_are_there() -> None:
    named = set(re.findall(r"\btraining\.(\w+)", README))
    assert named
    assert named <= set(TrainingConfig.model_fields)


def test_public_names_that_are_used_are_there() -> None:
    used = set(re.findall(r"\bminigpt\.([A-Za-z]\w+)\(", README))
    assert used
    assert used <= set(minigpt.__all__)


def test_it_is_read_in_a_few_minutes() -> None:
    assert len(README.split()) <= MOST_WORDS


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_to_files_of_the_repository(name: str) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", (ROOT / name).read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_source_files_that_are_named_are_there(name: str) -> None:
    named = set(re.findall(r"`([\w/]+/\w+\.py)`", (ROOT / name).read_text(encoding="utf-8")))
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_make_has_the_targets_that_are_named(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:`|\$ )make ([a-z-]+)", (ROOT / name).read_text(encoding="utf-8")))
    assert named
    assert named <= targets


def test_the_new_names_of_the_changelog_are_there() -> None:
    """The right column's names, `.name` beside the one before it."""
    moved = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").partition("\n### Moved\n")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in moved.splitlines() if line.startswith("| `")]
    assert rows
    for _, new in rows:
        names = re.findall(r"`(?:python -m )?([\w.]+)`", new)
        for name in names:
            pkgutil.resolve_name(f"{names[0].rpartition('.')[0]}{name}" if name.startswith(".") else name)


@pytest.mark.parametrize("package", ["minigpt", "tasks", "flows"])
def test_the_tree_has_a_line_for_each_room(package: str) -> None:
    rooms = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
    [lines] = re.findall(rf"^{package}/ .*\n((?:  .*\n)+)", README, re.MULTILINE)
    assert set(re.findall(r"^  (\w+)/ ", lines, re.MULTILINE)) == rooms
