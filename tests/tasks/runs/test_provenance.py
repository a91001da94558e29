"""What a run records of the code that made it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tasks.runs import provenance
from tasks.runs.provenance import CODE, PACKAGES, CorpusFacts, Facts, TokenCounts, code_diff, code_sha256, collect_facts


def collected() -> Facts:
    return collect_facts(CorpusFacts("0" * 64, 1, "text.txt"), TokenCounts(1, 1), "0" * 64, {})


def test_the_recorded_change_of_the_code_can_be_applied_to_its_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> bytes:
        who = ("-c", "user.name=x", "-c", "user.email=x", "-c", "commit.gpgsign=false")
        return subprocess.run(["git", "-C", str(tmp_path), *who, *arguments], check=True, capture_output=True).stdout

    for package in PACKAGES:
        shutil.copytree(CODE.parent / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    git("init")
    git("add", ".")
    git("commit", "-m", "x")
    monkeypatch.setattr(provenance, "CODE", tmp_path / "minigpt")
    assert code_diff() is None
    assert collected().git_dirty is False
    edited = tmp_path / "flows" / "cli" / "main.py"
    edited.write_text(edited.read_text() + "\n\n# edited, and a blank line behind it\n\n")
    new = tmp_path / "minigpt" / "new.py"
    new.write_text("WIDTH = 64\n")
    status = git("status", "--porcelain")
    (tmp_path / ".git" / "change.diff").write_bytes(code_diff() or b"")
    assert git("status", "--porcelain") == status, "its own index is as it was"
    after = edited.read_bytes()
    new.unlink()
    git("checkout", "flows")
    git("apply", ".git/change.diff")
    assert edited.read_bytes() == after
    assert new.read_text() == "WIDTH = 64\n"
    assert collected().git_dirty is True


def test_the_digest_of_the_code_covers_sub_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Moved or edited code anywhere below minigpt has to show in a rerun."""
    monkeypatch.setattr(provenance, "CODE", tmp_path)
    inner = tmp_path / "data" / "split.py"
    inner.parent.mkdir()
    inner.write_text("CUT = 1\n")
    digests = [code_sha256()]
    inner.write_text("CUT = 2\n")
    digests.append(code_sha256())
    inner.rename(tmp_path / "split.py")
    digests.append(code_sha256())
    assert len(set(digests)) == 3


@pytest.mark.parametrize(
    "variables",
    [
        {"GIT_WORK_TREE": "{other}", "GIT_DIR": "{other}/.git"},
        {"GIT_COMMON_DIR": "{other}/.git"},
        {"GIT_OBJECT_DIRECTORY": "{other}/.git/objects"},
        {"GIT_DIFF_OPTS": "--unified=0", "GIT_INDEX_FILE": "{other}/.git/index"},
    ],
    ids=str,
)
def test_gits_variables_of_the_caller_change_nothing(
    variables: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a hook of another repository has them, or someone who set them for it."""
    for name in ("code", "other"):
        folder = tmp_path / name
        for package in PACKAGES:
            (folder / package).mkdir(parents=True)
            (folder / package / "one.py").write_text("".join(f"{name} {line}\n" for line in range(9)))
        for arguments in (("init",), ("add", "."), ("commit", "-m", name)):
            who = ("-c", "user.name=x", "-c", "user.email=x", "-c", "commit.gpgsign=false")
            subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True)
    with (tmp_path / "code" / "minigpt" / "one.py").open("a") as file:
        file.write("edited\n")
    monkeypatch.setattr(provenance, "CODE", tmp_path / "code" / "minigpt")
    expected = provenance._git("rev-parse", "HEAD"), code_diff()
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(other=tmp_path / "other"))
    assert (provenance._git("rev-parse", "HEAD"), code_diff()) == expected
    assert None not in expected
