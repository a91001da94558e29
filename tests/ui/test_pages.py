"""What a person sees: two runs in MLflow's UI, their flow run and its form in Prefect's, in a real browser."""

import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from mlflow import MlflowClient
from playwright.sync_api import Browser, Page, expect, sync_playwright

pytestmark = pytest.mark.slow

CHROMIUM = Path("/usr/bin/chromium")
OFFLINE = ["no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking"]
OFFLINE += ["disable-component-update", "disable-sync"]
DRAWN_MILLISECONDS = 60_000
RATES = ("0.003", "0.001")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        message = "Debian's chromium is not installed; `make system` installs it"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    with sync_playwright() as playwright:
        arguments = [f"--{name}" for name in OFFLINE]
        with playwright.chromium.launch(executable_path=CHROMIUM, args=arguments) as chromium:
            yield chromium


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1600, "height": 1400})
    page.set_default_timeout(DRAWN_MILLISECONDS)
    expect.set_options(timeout=DRAWN_MILLISECONDS)
    yield page
    page.close()


def shoot(page: Page, name: str) -> None:
    """Keep a picture, for someone who wants to look."""
    if folder := os.environ.get("MINIGPT_SCREENSHOTS"):
        page.wait_for_timeout(3000)
        page.screenshot(path=Path(folder) / f"{name}.png")


@pytest.fixture(scope="module")
def place(new_workplace: Callable[[], Any]) -> Any:
    place = new_workplace()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (place.folder / "mlflow.yaml").write_text(f"ui:\n  port: {port}\n")
    return place


@pytest.fixture(scope="module")
def results(place: Any) -> list[dict[str, Any]]:
    """Two runs with different learning rates."""
    return [place.json("run", "smoke", "--set", f"training.learning_rate={rate}") for rate in RATES]


@pytest.fixture(scope="module")
def resumed(place: Any) -> dict[str, Any]:
    """A run that was killed and went on."""
    place.start_run("smoke", "--set", "training.max_steps=300", step=130).kill()
    result: dict[str, Any] = place.json("resume")
    return result


@pytest.fixture(scope="module")
def uis(place: Any, results: list[dict[str, Any]], resumed: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The addresses of MLflow's and Prefect's UI."""
    with place.serving("ui", pattern=r"(http://127\.0\.0\.1:\d+)") as addresses:
        time.sleep(1)
        addresses = re.findall(r"(http://127\.0\.0\.1:\d+)", place.log("ui").read_text())
        yield addresses[0], addresses[1]


@pytest.fixture(scope="module")
def experiment(place: Any, results: list[dict[str, Any]]) -> str:
    found = MlflowClient(f"sqlite:///{place.home}/mlflow.db").get_experiment_by_name("minigpt")
    assert found is not None
    return str(found.experiment_id)


def test_mlflow_shows_a_run(page: Page, uis: tuple[str, str], results: list[dict[str, Any]], experiment: str) -> None:
    base = f"{uis[0]}/#/experiments/{experiment}/runs/{results[0]['run_id']}"
    page.goto(f"{base}?workflowType=machine_learning")
    expect(page.get_by_text("training.learning_rate").first).to_be_visible()
    expect(page.get_by_text(RATES[0], exact=True).first).to_be_visible()
    shoot(page, "mlflow-run")
    page.goto(f"{base}/model-metrics?workflowType=machine_learning")
    for section in (r"loss\s*\(3\)", r"perplexity\s*\(2\)", r"quote\s*\(7\)"):  # train, train_step and val side by side
        expect(page.locator("body")).to_contain_text(re.compile(section))
    shoot(page, "mlflow-curves")


def test_mlflow_shows_a_resumed_run_as_one_curve(
    page: Page, uis: tuple[str, str], resumed: dict[str, Any], experiment: str, place: Any
) -> None:
    history = MlflowClient(f"sqlite:///{place.home}/mlflow.db").get_metric_history(resumed["run_id"], "loss/train_step")
    assert [metric.step for metric in history] == list(range(1, 301))
    page.goto(
        f"{uis[0]}/#/experiments/{experiment}/runs/{resumed['run_id']}/model-metrics?workflowType=machine_learning"
    )
    expect(page.locator("body")).to_contain_text(re.compile(r"loss\s*\(3\)"))
    shoot(page, "mlflow-resumed")


def test_mlflow_compares_two_runs(
    page: Page, uis: tuple[str, str], results: list[dict[str, Any]], experiment: str
) -> None:
    ids = ",".join(f'"{result["run_id"]}"' for result in results)
    page.goto(f'{uis[0]}/#/compare-runs?runs=[{ids}]&experiments=["{experiment}"]&workflowType=machine_learning')
    for rate in RATES:
        expect(page.get_by_text(rate, exact=True).first).to_be_visible()
    expect(page.get_by_text("training.learning_rate").first).to_be_visible()
    shoot(page, "mlflow-compared")


def test_prefect_shows_the_flow_run_with_its_tasks(
    page: Page, uis: tuple[str, str], results: list[dict[str, Any]]
) -> None:
    page.goto(f"{uis[1]}/runs/flow-run/{results[0]['flow_run_id']}")
    expect(page.get_by_text("Completed").first).to_be_visible()
    page.get_by_role("tab", name="Task Runs").or_(page.get_by_text("Task Runs")).first.click()
    for name in ("corpus download", "train/val split", "training", "sample generation", "report"):
        expect(page.get_by_text(re.compile(rf"^{name}-\w+$")).first).to_be_visible()
    shoot(page, "prefect-flow-run")
    page.get_by_role("tab", name="Parameters").or_(page.get_by_text("Parameters")).first.click()
    expect(page.get_by_text("learning_rate").first).to_be_visible()
    shoot(page, "prefect-parameters")


def test_prefect_shows_the_config_as_a_form(page: Page, uis: tuple[str, str], place: Any) -> None:
    with place.serving("schedule", "smoke", "--cron", "0 3 * * *", pattern=r"(http://127\.0\.0\.1:\d+)/deploy"):
        deadline = time.monotonic() + 60
        while not (found := httpx.post(f"{uis[1]}/api/deployments/filter", json={}).json()):
            assert time.monotonic() < deadline
            time.sleep(0.5)
        page.goto(f"{uis[1]}/deployments/deployment/{found[0]['id']}/run")
        expect(page.get_by_text("Optimizer steps after which the run ends.").first).to_be_visible()
        shoot(page, "prefect-form")


def test_ctrl_c_ends_both_uis(new_workplace: Callable[[], Any]) -> None:
    place = new_workplace()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        (place.folder / "mlflow.yaml").write_text(f"ui:\n  port: {probe.getsockname()[1]}\n")
    with place.serving("ui", pattern=r"Ctrl-C ends both"):
        assert place.processes()
    assert place.processes() == []


def test_a_port_in_use_is_told(place: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        elsewhere = place.folder / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "mlflow.yaml").write_text(f"ui:\n  port: {taken.getsockname()[1]}\n")
        done = subprocess.run(
            place.command("ui"), cwd=elsewhere, env=place.environment(), capture_output=True, text=True, timeout=60
        )
    assert done.returncode == 2
    assert "is in use" in done.stderr
