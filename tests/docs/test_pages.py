"""What the pages that people wrote name is there: files, classes, commands, options, config fields."""

import re
from pathlib import Path

import pytest

from docs.reference.commands import cli_commands
from docs.reference.config import config_fields

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "pages").rglob("*.md"))
SOURCES = [path for top in ("minigpt", "tasks", "flows", "bench", "docs") for path in (ROOT / top).rglob("*.py")]
FOLDERS = "minigpt|tasks|flows|bench|tests|docs"
# In code spans and blocks: a class, or a constant of two words.
NAME = r"`([A-Z][a-z]+(?:[A-Z][a-zA-Z]*)+|[A-Z]+(?:_[A-Z]+)+)`"
OPTIONS_OF_OTHERS = {"--help"}


def by_name(path: Path) -> str:
    return path.relative_to(ROOT / "docs" / "pages").as_posix()


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_files_are_there(page: Path) -> None:
    named = re.findall(rf"`((?:{FOLDERS})/[\w/]+\.\w+)`", page.read_text(encoding="utf-8"))
    assert [name for name in named if not (ROOT / name).exists() and "NAME" not in name and "ROOM" not in name] == []


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_classes_and_constants_are_there(page: Path) -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)
    named = set(re.findall(NAME, page.read_text(encoding="utf-8"))) - {"RUN_ID"}
    assert [name for name in sorted(named) if not re.search(rf"\b{name}\b", code)] == []


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_commands_and_options_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    commands = cli_commands()
    assert set(re.findall(r"(?:`|\$ )minigpt ([a-z]+)", text)) <= set(commands)
    options = {option for command in commands.values() for one in command.params for option in one.opts}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)) <= options | OPTIONS_OF_OTHERS


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_fields_are_there(page: Path) -> None:
    fields = {name for name, _ in config_fields()}
    sections = "|".join({name.partition(".")[0] for name in fields if "." in name} - {"tokenizer"})
    named = re.findall(rf"(?:`|--set )((?:{sections})\.[a-z_]+)\b(?!\.)", page.read_text(encoding="utf-8"))
    files = {f"{step}.py" for step in ("corpus", "split", "training", "evaluation", "sampling", "held_out")}
    assert set(named) - files <= fields | {"held_out.decision"}
