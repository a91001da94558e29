"""The reference names everything that there is: the command line and the config, and what a real run leaves."""

import json
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from docs.check import loads_from_other_hosts
from docs.reference import commands, config, exit_codes, journal, mlflow, run_folder
from docs.reference.pages import reference_pages
from docs.reference.tables import table
from minigpt.recipe import RunConfig
from tests.conftest import Workplace

# What a smoke run without a held-out text, which nothing disturbs, has no reason to write.
UNUSUAL_METRICS = {"held_out/bits_per_byte"}
UNUSUAL_TAGS = {"error", "decision", "change", "rerun_of", "resumed", "run_id"}


@pytest.fixture(scope="module")
def client(workplace: Workplace) -> MlflowClient:
    return MlflowClient(f"sqlite:///{workplace.home}/mlflow.db")


@pytest.fixture(scope="module")
def tracked(smoke: dict[str, Any], client: MlflowClient) -> Run:
    """The smoke run, as MLflow has it."""
    return client.get_run(smoke["run_id"])


def test_every_command_and_option_is_listed() -> None:
    sections = dict(part.split("`", 1) for part in commands.page().split("## `minigpt ")[1:])
    assert set(sections) == set(commands.cli_commands())
    for name, command in commands.cli_commands().items():
        options = [option for one in command.params for option in one.opts if option.startswith("-")]
        assert [option for option in options if f"`{option}" not in sections[name]] == [], name


def test_every_param_of_a_run_is_a_field_of_the_page(tracked: Run) -> None:
    listed = {name for name, _ in config.config_fields()}
    assert listed == set(tracked.data.params)
    assert [name for name in listed if f"| `{name}` |" not in config.page()] == []


def test_defaults_are_those_of_the_config() -> None:
    page = config.page()
    plain = RunConfig.model_validate({"corpus": {"source": "python-topics"}}).flat()
    for name in ("seed", "training.learning_rate", "model.tied_head", "sampling.prompt"):
        [row] = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
        assert f"`{json.dumps(plain[name]).strip(chr(34))}`" in row


def test_metrics_are_those_of_a_run(tracked: Run) -> None:
    assert set(mlflow.METRICS) - UNUSUAL_METRICS == set(tracked.data.metrics)
    assert [name for name in mlflow.METRICS if f"| `{name}` |" not in mlflow.page()] == []


def test_tags_are_those_of_a_run(tracked: Run, client: MlflowClient) -> None:
    [experiment] = {tracked.info.experiment_id}
    models = client.search_logged_models([experiment], f"source_run_id = '{tracked.info.run_id}'")
    assert {model.model_type for model in models} == {"minigpt checkpoint"}
    for listed, there in ((mlflow.TAGS, tracked.data.tags), (mlflow.MODEL_TAGS, models[0].tags)):
        assert set(listed) - {f"minigpt.{name}" for name in UNUSUAL_TAGS} == set(there)
        assert [name for name in listed if f"| `{name}` |" not in mlflow.page()] == []


def test_every_file_of_a_run_is_listed(smoke: dict[str, Any]) -> None:
    folder = Path(smoke["run_dir"])
    plain = {path.name for path in folder.iterdir() if path.suffix != ".lock"} - {"checkpoints"}
    assert plain <= set(run_folder.FILES)
    for checkpoint in (folder / "checkpoints").iterdir():
        assert f"checkpoints/{checkpoint.name.split('-')[0]}-STEP" in run_folder.FILES
        assert {path.name for path in checkpoint.iterdir()} <= set(run_folder.CHECKPOINT_FILES)


def test_every_field_of_a_journal_is_listed(smoke: dict[str, Any]) -> None:
    kinds = journal.record_kinds()
    for line in (Path(smoke["run_dir"]) / "journal.jsonl").read_text().splitlines():
        record = json.loads(line)
        assert set(record) - {"kind"} <= set(kinds[record["kind"]].fields)


def test_exit_codes_differ() -> None:
    assert sorted(exit_codes.CODES) == [0, 1, 2, 3]


def test_pages_are_generated_under_their_own_paths() -> None:
    assert all(path.startswith("reference/") and text.startswith("# ") for path, text in reference_pages().items())


def test_a_cell_stays_a_cell() -> None:
    assert table(("a",), [["x|y\nz"]]) == "| a |\n| --- |\n| x\\|y z |\n"


@pytest.mark.parametrize(
    ("page", "found"),
    [
        ('<link rel="stylesheet" href="https://fonts.example/a.css">', 1),
        ('<script src="//cdn.example/a.js"></script>', 1),
        ('<pre class="mermaid">', 1),
        ('<a href="https://example.org">a link for people</a>', 0),
        ('<link rel="canonical" href="https://example.org/">', 0),
        ('<img src="images/loss.png">', 0),
    ],
)
def test_a_page_that_asks_another_host_is_found(page: str, found: int, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(page)
    assert len(list(loads_from_other_hosts(tmp_path))) == found


def test_a_style_that_asks_another_host_is_found(tmp_path: Path) -> None:
    (tmp_path / "style.css").write_text("a { background: url(https://cdn.example/a.png) } b { background: url(b.png) }")
    assert len(list(loads_from_other_hosts(tmp_path))) == 1
