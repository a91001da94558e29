"""How often each fault is tried, from which seed, and the table of what held.

A test marked `trials(default, whole)` runs `default` times in the ordinary suite and `whole` times with
MINIGPT_FAULTS=whole (`make faults`), each with a random source of its own that MINIGPT_FAULT_SEED, the test's name and
the trial's number decide. Of the whole, what held is written down, and not tried again after an interruption unless
the code has changed.
"""

import hashlib
import json
import os
import random
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults import checks, tiny

ROOT = Path(__file__).parents[2]
WHOLE = os.environ.get("MINIGPT_FAULTS") == "whole"
SEED = os.environ.get("MINIGPT_FAULT_SEED", "1")
PLACE = ROOT / ".faults"
HERE = "tests/faults/"
COLUMNS = ("trials", "held", "lost", "doubled", "seconds")


def times(item: pytest.Item) -> int:
    mark = item.get_closest_marker("trials")
    return int(mark.kwargs["whole" if WHOLE else "default"]) if mark else 1


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.definition.get_closest_marker("trials"):
        count = times(metafunc.definition)
        metafunc.parametrize("trial", range(count), ids=[f"seed{SEED}-{number}" for number in range(count)])


@pytest.fixture
def source(request: pytest.FixtureRequest) -> random.Random:
    """Where every random choice of a trial comes from."""
    return random.Random(request.node.nodeid)  # noqa: S311


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> tiny.Template:
    """A tiny run before its first step, and what it comes to if nothing disturbs it."""
    return tiny.make_template(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def run(template: tiny.Template, tmp_path: Path) -> Iterator[tiny.TinyRun]:
    """A fresh copy of the tiny run, of which no process and no file under a temporary name may be left."""
    run = template.copy(tmp_path / "home")
    yield run
    run.end_processes()


class Ledger:
    """What was tried: one line for each test that ran, the earlier ones of the same code included."""

    def __init__(self) -> None:
        self.path = PLACE / f"{code_digest()[:16]}-{SEED}.jsonl"
        self.lines: dict[str, dict[str, Any]] = {}
        if WHOLE and self.path.exists():
            self.lines = {entry["test"]: entry for entry in map(json.loads, self.path.read_text().splitlines())}

    def has_held(self, test: str) -> bool:
        return test in self.lines and self.lines[test]["held"] == self.lines[test]["trials"]

    def add(self, entry: dict[str, Any]) -> None:
        self.lines[entry["test"]] = entry
        if WHOLE:
            PLACE.mkdir(exist_ok=True)
            with self.path.open("a") as file:
                file.write(json.dumps(entry) + "\n")

    def table(self) -> str:
        sums: dict[str, dict[str, float]] = defaultdict(lambda: dict.fromkeys(COLUMNS, 0.0))
        for entry in self.lines.values():
            for column in COLUMNS:
                sums[entry["fault"]][column] += entry[column]
        sums["all"] = {column: sum(row[column] for row in sums.values()) for column in COLUMNS}
        head = f"{'fault':<100}" + "".join(f"{column:>9}" for column in COLUMNS)
        rows = [f"{fault:<100}" + "".join(f"{row[column]:>9.0f}" for column in COLUMNS) for fault, row in sums.items()]
        return "\n".join([head, *rows])


def code_digest() -> str:
    """Of all that a trial runs."""
    digest = hashlib.sha256()
    for folder in ("minigpt", "tasks", "flows", "tests/faults"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


LEDGER = Ledger()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [item for item in items if LEDGER.has_held(item.nodeid) or not times(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    if item.nodeid.startswith(HERE) and call.when == "call" and not report.skipped:
        properties = dict(item.user_properties)
        trials = properties.get("trials", 1)
        error = call.excinfo.value if call.excinfo else None
        LEDGER.add(
            {
                "test": item.nodeid,
                "fault": str(item.function.__doc__).split("\n")[0],  # type: ignore[attr-defined]
                "trials": trials,
                "held": trials if report.passed else properties.get("held", 0),
                "lost": error.count if isinstance(error, checks.LostError) else 0,
                "doubled": error.count if isinstance(error, checks.DoubledError) else 0,
                "seconds": call.duration,
            }
        )
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if LEDGER.lines:
        table = f"seed {SEED} (MINIGPT_FAULT_SEED)\n{LEDGER.table()}"
        terminalreporter.section("faults")
        terminalreporter.write_line(table)
        if WHOLE:
            PLACE.mkdir(exist_ok=True)
            (PLACE / "table.txt").write_text(table + "\n")
