"""A cache key's code: moving a definition keeps it, and changing one that is reached changes it."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from minigpt.io.source_digest import code_sha256_of
from tasks.steps.split import _cut_sides
from tasks.steps.tokenization import _encode_sides

MAKER = '''"""Makes a content."""

import logging

from PACKAGE import helpers
from PACKAGE.helpers import SCALE

log = logging.getLogger(__name__)


def make(number: int) -> int:
    """The content."""
    return helpers.twice(number) * SCALE


def unrelated() -> int:
    return 1
'''
HELPERS = '''"""Helpers."""

SCALE = 3


def twice(number: int) -> int:
    # Doubles.
    return 2 * number
'''

Digest = Callable[[str, str], str]


@pytest.fixture
def digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Digest:
    """The digest of what `make` reaches in a package of these two modules; a new package each time."""
    monkeypatch.syspath_prepend(tmp_path)
    made: list[str] = []

    def written(maker: str, helpers: str, **others: str) -> str:
        name = f"contents_{tmp_path.name}_{len(made)}"  # a new name, for a module is read once
        made.append(name)
        (tmp_path / name).mkdir()
        for module, text in {"__init__": "", "maker": maker, "helpers": helpers, **others}.items():
            (tmp_path / name / f"{module}.py").write_text(text.replace("PACKAGE", name))
        importlib.invalidate_caches()
        module = importlib.import_module(f"{name}.maker")
        return code_sha256_of(module.make, packages=(name,))

    yield written
    for name in [name for name in sys.modules if name.startswith("contents_")]:
        del sys.modules[name]


def test_comments_docstrings_and_log_lines_do_not_count(digest: Digest) -> None:
    usual = digest(MAKER, HELPERS)
    logged = MAKER.replace("    return helpers", '    log.info("makes %d", number)\n    return helpers')
    assert digest(logged, HELPERS) == usual
    assert (
        digest(MAKER.replace("The content.", "What is made."), HELPERS.replace("# Doubles.", "# Other words.")) == usual
    )


def test_moving_a_definition_keeps_the_key(digest: Digest) -> None:
    usual = digest(MAKER, HELPERS)
    scale = MAKER.replace("from PACKAGE.helpers import SCALE", "from PACKAGE.numbers import SCALE")
    assert digest(scale, HELPERS.replace("SCALE = 3\n", ""), numbers="SCALE = 3\n") == usual


def test_a_changed_definition_changes_the_key_only_where_it_is_reached(digest: Digest) -> None:
    usual = digest(MAKER, HELPERS)
    assert digest(MAKER.replace("return 1", "return 2"), HELPERS) == usual
    changed = [
        (MAKER.replace("* SCALE", "+ SCALE"), HELPERS),
        (MAKER, HELPERS.replace("2 * number", "3 * number")),
        (MAKER, HELPERS.replace("SCALE = 3", "SCALE = 4")),
    ]
    assert len({usual, *(digest(*texts) for texts in changed)}) == 4


def test_a_maker_that_is_not_at_the_top_of_its_module_is_refused() -> None:
    with pytest.raises(ValueError, match="not defined at the top level of its module"):
        code_sha256_of(lambda: None, packages=(__name__,))


def test_tokens_and_windows_have_different_keys() -> None:
    """Of the real makers: both reach code of other modules."""
    keys = {code_sha256_of(_encode_sides), code_sha256_of(_cut_sides)}
    assert len(keys) == 2
