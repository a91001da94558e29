"""The result and the facts of a run, as its folder keeps them."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from minigpt.errors import InputError
from minigpt.evaluation.difference import PairedDifference
from tasks.runs.files import FORMAT, Stored, read_stored
from tasks.runs.provenance import CorpusFacts, Facts
from tasks.runs.result import Judgement, Result, Samples, TableSample, TrainingSample
from tests.values import FACTS, RESULT, result_with

# Written at commit 5cb2fd1, before files had a format; of the packages, the main ones.
FORMAT_1 = {
    Result: Path(__file__).parent / "format_1/result.json",
    Facts: Path(__file__).parent / "format_1/facts.json",
}
STORED = pytest.mark.parametrize("kind", FORMAT_1, ids=lambda kind: kind.__name__)


@pytest.mark.parametrize(
    "value",
    [
        FACTS,
        RESULT,
        result_with(
            held_out=Judgement(
                1, ("said",), "", "ship", "text", saved=PairedDifference(0.1, 0.01, may_be_chance=False)
            ),
            samples=Samples("Ä\n", (TableSample(1.0, None, "b"),), 3, 0.5, (TrainingSample(0, "x"),)),
            perplexity=math.inf,
        ),
    ],
    ids=["facts", "result", "everything"],
)
def test_a_value_is_read_back_as_it_was_written(value: Stored, tmp_path: Path) -> None:
    value.write(tmp_path / "file")
    assert read_stored(type(value), tmp_path / "file") == value
    assert json.loads((tmp_path / "file").read_text())["format"] == FORMAT == 2


@STORED
def test_a_file_of_format_1_is_read_without_loss(kind: type[Stored]) -> None:
    """And every key and value of it is printed as it was, since scripts rely on them."""
    value = read_stored(kind, FORMAT_1[kind])
    since: dict[str, Any] = {"findings": []} if kind is Result else {"corpus_files": None, "held_out_files": None}
    assert value.model_dump(mode="json") == {**json.loads(FORMAT_1[kind].read_text()), "format": FORMAT, **since}


def test_what_format_1_has_arrives_in_typed_values() -> None:
    result = read_stored(Result, FORMAT_1[Result])
    assert result.held_out is not None
    assert isinstance(result.held_out.saved, PairedDifference)
    assert result.cost.quoted.bill.hardware == "cpu-2core"
    assert isinstance(result.samples.table[0], TableSample)
    assert result.short_id == result.run_id[:12]
    assert isinstance(read_stored(Facts, FORMAT_1[Facts]).corpus, CorpusFacts)


@STORED
def test_a_file_of_a_newer_version_is_refused(kind: type[Stored], tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text(json.dumps({"format": FORMAT + 1, "other": "fields"}))
    with pytest.raises(
        InputError, match=rf"^{path} has format 3, and this minigpt reads formats up to 2.*update"
    ) as error:
        read_stored(kind, path)
    assert "damaged" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": "2"}, "its format is '2'"),
        ({"format": 0}, "its format is 0"),
        ({"status": "ended"}, "status: Input should be 'completed', 'stopped_early' or 'diverged'"),
        ({"steps": "many"}, "steps: "),
        ({"cost": {"quoted": 1}}, "cost.quoted"),
        ({"held_out": {"time_ms": 1}}, "it has no held_out.sentences"),
    ],
)
def test_a_result_with_a_wrong_value_is_damaged(changes: dict[str, Any], reason: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text(json.dumps({**json.loads(FORMAT_1[Result].read_text()), **changes}))
    with pytest.raises(InputError) as error:
        read_stored(Result, path, "way out")
    assert str(error.value).startswith(f"{path} is damaged ({reason}")
    assert str(error.value).endswith("; way out")
    assert "\n" not in str(error.value)


@STORED
def test_a_file_without_a_field_is_damaged(kind: type[Stored], tmp_path: Path) -> None:
    path = tmp_path / "file"
    for name in (written := json.loads(FORMAT_1[kind].read_text())):
        path.write_text(json.dumps({key: value for key, value in written.items() if key != name}))
        with pytest.raises(InputError, match=f"is damaged \\(it has no {name}\\); put it back from a copy"):
            read_stored(kind, path)


def test_only_numbers_that_there_are_become_metrics() -> None:
    """MLflow takes no infinity, and a text without a measurement has no point."""
    metrics = result_with(perplexity=math.inf, xz_bits_per_byte=2.5).metrics()
    assert metrics["final/xz_bits_per_byte"] == 2.5
    assert metrics["bill/usd"] == 0.5
    assert not {"final/perplexity", "final/xz_after_training_bits_per_byte", "held_out/bits_per_byte"} & set(metrics)
