"""Settings of Prefect's that are wrong: one sentence that names the place, before anything starts."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Workplace

WRONG: list[tuple[str, bytes, dict[str, str], str]] = [
    (".env", b"# f\xfcr uns\nA=1\n", {}, r"{folder}/\.env is not UTF-8 from byte 3 on \(byte 0xfc is wrong there\)"),
    ("pyproject.toml", b"[project\nname = 1\n", {}, r"{folder}/pyproject\.toml is not valid TOML: .* line 1"),
    ("prefect.toml", b"x = \xff\n", {}, r"{folder}/prefect\.toml is not UTF-8 from byte 4 on"),
    (
        "pyproject.toml",
        b"[tool.prefect.server.api]\nport = 'four'\n",
        {},
        r"port in {folder}/pyproject\.toml is 'four': Input should be a valid integer",
    ),
    (
        "unrelated",
        b"",
        {"PREFECT_API_REQUEST_TIMEOUT": "soon"},
        "PREFECT_API_REQUEST_TIMEOUT is 'soon': Input should be",
    ),
    (
        ".minigpt/prefect/profiles.toml",
        b"active = \n",
        {},
        r"{folder}/\.minigpt/prefect/profiles\.toml is not valid TOML",
    ),
]


@pytest.mark.parametrize(("name", "data", "variables", "words"), WRONG, ids=[words for *_, words in WRONG])
def test_the_place_of_what_is_wrong_is_named(
    name: str, data: bytes, variables: dict[str, str], words: str, new_workplace: Callable[[], Workplace]
) -> None:
    place = new_workplace()
    (place.folder / name).parent.mkdir(parents=True, exist_ok=True)
    (place.folder / name).write_bytes(data)
    done = subprocess.run(
        place.command("run", "smoke"),
        cwd=place.folder,
        env={**place.environment(), **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2, done.stderr
    words = words.replace("{folder}", str(place.folder))
    assert re.fullmatch(rf"minigpt: {words}[^\n]*; correct it, or [^\n]*\n", done.stderr), done.stderr


def test_files_of_a_project_that_say_nothing_to_prefect_are_fine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.servers import prefect_settings

    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("NAME=Müller\n")
    (tmp_path / "pyproject.toml").write_text("[tool.ruff]\nline-length = 120\n")
    assert [
        place.name for place, text in prefect_settings._files() if prefect_settings._sets_something(place, text)
    ] == []
