"""Paths that variables name: no shell has read them, so that a ~ in them is ours to expand."""

from pathlib import Path

import pytest

from minigpt.errors import InputError
from tasks.home.folders import home
from tasks.home.settings import TrackingSettings
from tasks.steps.tokenization import _published


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "user"


@pytest.mark.parametrize(("given", "meant"), [("~", ""), ("~/deep/er", "deep/er"), ("~/./~", "~")])
def test_the_home_may_be_given_from_the_users(
    given: str, meant: str, user: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIGPT_HOME", given)
    assert home() == user / meant


def test_a_store_may_be_given_from_the_users_home(user: Path) -> None:
    assert TrackingSettings(tracking_uri="sqlite:///~/store.db").resolved().tracking_uri == f"sqlite:///{user}/store.db"


def test_the_folder_of_gpt2s_vocabulary_may_be_given_from_the_users_home(
    shared: Path, user: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user.mkdir()
    (user / "tiktoken").symlink_to(shared / "tiktoken-cache")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "~/tiktoken")
    assert _published().vocabulary_size == 50_257
    assert not Path("~").exists()


@pytest.mark.parametrize("given", ["~nobody-at-all", "~nobody-at-all/minigpt"])
def test_a_user_that_there_is_not_is_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIGPT_HOME", given)
    with pytest.raises(InputError, match=rf"MINIGPT_HOME is '{given}', .*; give the full path$"):
        home()
