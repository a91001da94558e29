"""Options as a shell hands them on."""

import pytest

from flows.cli.options import unescaped


@pytest.mark.parametrize(
    ("given", "meant"),
    [(r"\n\n", "\n\n"), (r"a\tb", "a\tb"), (r"\\nabla", r"\nabla"), (r"\alpha", r"\alpha"), ("\n", "\n"), ("\\", "\\")],
)
def test_a_stop_text_may_have_line_ends(given: str, meant: str) -> None:
    assert unescaped(given) == meant
