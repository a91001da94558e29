"""What a stranger on this machine or its network may not do: be served, have code run, be told a secret."""

import ast
import json
import pickle
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from safetensors import SafetensorError

from flows.config import load_config
from minigpt.checkpoints.format import WEIGHTS_FILE, load_checkpoint
from minigpt.errors import InputError
from minigpt.io.store import MANIFEST, link_or_copy, write_folder
from tasks.home.credentials import QUERY, USER_AND_PASSWORD, hide, reveal
from tasks.servers.prefect_server import bind_port

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for package in ("minigpt", "tasks", "flows") for path in (ROOT / package).rglob("*.py"))


class Payload:
    """Leaves a file where it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_loads_a_pickle(path: Path) -> None:
    tree = ast.parse(path.read_text())
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert not modules & {"pickle", "cloudpickle", "joblib", "dill", "shelve", "marshal"}
    assert not calls & {"torch.load", "np.load", "numpy.load", "yaml.load", "eval", "exec"}


def test_a_pickle_in_a_checkpoints_place_is_not_unpickled(smoke: dict[str, Any], tmp_path: Path) -> None:
    """Even one whose digests are right."""
    trace = tmp_path / "trace"

    def fill(place: Path) -> dict[str, Any]:
        whole = Path(smoke["run_dir"]) / "checkpoints" / "last-0000060"
        manifest = json.loads((whole / MANIFEST).read_bytes())
        link_or_copy(whole / "tokenizer.txt", place / "tokenizer.txt")
        (place / WEIGHTS_FILE).write_bytes(pickle.dumps(Payload(trace)))
        return {key: manifest[key] for key in ("model", "state")}

    write_folder(tmp_path / "last-0000060", fill)
    with pytest.raises(SafetensorError):
        load_checkpoint(tmp_path / "last-0000060")
    assert not trace.exists()


@pytest.fixture(scope="module")
def served(new_workplace: Callable[[], Any]) -> Iterator[tuple[Any, str, str]]:
    """A workplace with both UIs up, and their addresses."""
    place = new_workplace()
    with bind_port(0) as free:
        port = free.getsockname()[1]
    (place.folder / "mlflow.yaml").write_text(f"ui: {{port: {port}}}\n")
    with place.serving("ui", pattern="Ctrl-C ends both"):
        words = place.log("ui").read_text().split()
        mlflow, prefect = (next(w for w in words[words.index(name) :] if "://" in w) for name in ("MLflow", "Prefect"))
        yield place, mlflow.split("/#")[0], prefect.removesuffix("/runs")
    assert place.processes() == []


def test_servers_listen_on_the_loopback_interface_alone(served: tuple[Any, str, str]) -> None:
    place, _, _ = served
    listening = [c for p in place.processes() for c in p.net_connections() if c.status == psutil.CONN_LISTEN]
    assert listening
    assert {connection.laddr.ip for connection in listening} <= {"127.0.0.1", "::1"}


def test_mlflow_answers_to_its_own_names_alone(served: tuple[Any, str, str]) -> None:
    _, mlflow, _ = served
    address = f"{mlflow}/api/2.0/mlflow/experiments/search?max_results=1"
    assert httpx.get(address).status_code == 200
    for host in ("evil.example", "10.1.2.3", f"192.168.0.7:{httpx.URL(mlflow).port}"):
        assert httpx.get(address, headers={"Host": host}).status_code == 403


def test_prefect_answers_to_its_own_names_alone(served: tuple[Any, str, str]) -> None:
    _, _, prefect = served
    for name in ("127.0.0.1", "localhost", "prefect-in-memory"):  # the last is of its own automations
        assert httpx.get(f"{prefect}/api/health", headers={"Host": name}).status_code == 200
    for host in ("evil.example", "10.1.2.3", f"192.168.0.7:{httpx.URL(prefect).port}"):
        assert httpx.get(f"{prefect}/api/health", headers={"Host": host}).status_code == 400


def test_prefect_lets_no_other_page_read(served: tuple[Any, str, str]) -> None:
    _, _, prefect = served
    for origin, allowed in ((prefect, prefect), ("http://evil.example", None)):
        answer = httpx.get(f"{prefect}/api/health", headers={"Origin": origin})
        assert answer.headers.get("access-control-allow-origin") == allowed


NAMES = ["../x", "a/b", "", ".hidden", "x" * 99]


@pytest.mark.parametrize("name", NAMES)
def test_a_config_has_no_such_name(name: str) -> None:
    with pytest.raises(InputError, match="name is"):
        load_config("smoke", [f"name='{name}'"])


@pytest.mark.parametrize("name", [NAMES[0], *(pytest.param(name, marks=pytest.mark.slow) for name in NAMES[1:])])
def test_a_name_cannot_leave_its_folder(name: str, workplace: Any) -> None:
    asked = [(command, f"../{name}") for command in ("resume", "verify", "sync")]
    done, *others = workplace.run_together(("run", "smoke", "--set", f"name='{name}'"), *asked)
    assert done.returncode == 2
    assert "name" in done.stderr
    assert [other.returncode for other in others] == [2, 2, 2]


@pytest.mark.parametrize(
    "source",
    ["ftp://user:hunter2@host/x", "s3://user:hunter2@host/x", "http://user:hun/hunter2@host/x", "http://u:h?hunter2@h"],
)
def test_an_address_whose_secrets_cannot_be_told_apart_is_refused(source: str) -> None:
    with pytest.raises(InputError) as caught:
        load_config("smoke", [f"corpus.source={source}"])
    assert "hunter2" not in str(caught.value)


def test_an_address_in_capitals_hides_its_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (USER_AND_PASSWORD, QUERY):
        monkeypatch.setenv(name, "")
    source = load_config("smoke", ["corpus.source=HTTPS://u:hunter2@h/x?key=hunter2"]).corpus.source
    assert source == f"https://${{{USER_AND_PASSWORD}}}@h/x?${{{QUERY}}}"
    assert reveal(source) == "https://u:hunter2@h/x?key=hunter2"


def test_secrets_that_look_like_variables_are_hidden_and_no_other_variable_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in (USER_AND_PASSWORD, QUERY):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter3")
    address = "https://me:pa${ss}word@h/${AWS_SECRET_ACCESS_KEY}?token=hunter2&v=${V}"
    hidden = hide(address)
    assert hidden == (f"https://${{{USER_AND_PASSWORD}}}@h/${{AWS_SECRET_ACCESS_KEY}}?${{{QUERY}}}")
    assert hide(hidden) == hidden
    assert reveal(hidden) == address
    for inside in ("AWS_SECRET_ACCESS_KEY", QUERY):
        with pytest.raises(InputError, match=f"{inside}}} inside its query; put the complete query into"):
            hide(f"https://h/x?page=2&v=${{{inside}}}")


@pytest.mark.slow
def test_a_rerun_tells_no_secret_that_it_was_given(smoke: dict[str, Any], workplace: Any) -> None:
    source = "corpus.source=http://user:hunter2@127.0.0.1:9/x"
    done = workplace.run("rerun", smoke["run_id"], "--set", source)
    assert "identical" in done.stdout + done.stderr
    files = [path for path in workplace.home.rglob("*") if path.is_file()]
    assert any(USER_AND_PASSWORD.encode() in path.read_bytes() for path in files)
    assert [path for path in files if b"hunter2" in path.read_bytes()] == []


class Empty(BaseHTTPRequestHandler):
    """Has nothing."""

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        pass


def test_secrets_of_an_address_are_told_nowhere(new_workplace: Callable[[], Any]) -> None:
    """Neither the corpus's nor the tracking store's: not in what is said, nor in any file of the home."""
    place = new_workplace()
    with HTTPServer(("127.0.0.1", 0), Empty) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host = f"127.0.0.1:{server.server_port}"
        commands = {
            f"http://{host}/x": ("--set", f"corpus.source=http://user:hunter2@{host}/x?key=hunter2"),
            "http://127.0.0.1:9": ("--tracking-uri", "http://user:hunter2@127.0.0.1:9"),
        }
        told = place.run_together(*(("run", "smoke", *arguments) for arguments in commands.values()))
        for shown, done in zip(commands, told, strict=True):
            assert done.returncode == 2
            assert shown in done.stderr
            assert "hunter2" not in done.stdout + done.stderr
        server.shutdown()
    written = [path for path in place.home.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]
    assert written == []
