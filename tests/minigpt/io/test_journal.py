"""The journal: whole lines only, nothing read twice, and exact to the last bit of a float."""

import hashlib
import json
import math
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from minigpt.errors import InputError
from minigpt.io.journal import Journal, JournalReader, curve_sha256, loss_curve, of_kind, read_journal

JSON_VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def test_before_the_first_record_there_is_nothing(path: Path) -> None:
    reader = JournalReader(path)
    assert reader.new_records() == []
    writer = Journal(path)
    assert reader.new_records() == []
    writer.append("start")
    assert [record["kind"] for record in reader.new_records()] == ["start"]
    assert reader.new_records() == []
    writer.close()


def test_a_record_has_its_kind_its_time_and_its_fields(path: Path) -> None:
    writer = Journal(path)
    record = writer.append("step", step=1, loss=0.5)
    writer.sync()
    writer.close()
    assert record["kind"] == "step"
    assert record["time_ms"] > 1_700_000_000_000
    assert read_journal(path) == [record]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.dictionaries(st.text().filter(lambda name: name != "kind"), JSON_VALUES), max_size=5))
@example([{"self": None}])
def test_any_values_come_back_as_they_were(path: Path, records: list[dict[str, object]]) -> None:
    """Line ends, NUL and lone surrogates in a text break no line; no float loses a bit."""
    path.unlink(missing_ok=True)
    writer = Journal(path)
    for record in records:
        writer.append("sample", **record)
    writer.close()
    found = read_journal(path)
    assert [{**record, "kind": "sample"} for record in records] == [
        {name: value for name, value in back.items() if name in record or name == "kind"}
        for back, record in zip(found, records, strict=True)
    ]


def test_a_reader_sees_only_whole_lines_wherever_the_write_stands(path: Path) -> None:
    lines = b"".join(json.dumps({"kind": "step", "step": n, "loss": n / 3}).encode() + b"\n" for n in (1, 2, 3))
    reader, seen = JournalReader(path), []
    with path.open("wb", buffering=0) as file:
        for end in range(1, len(lines) + 1):
            file.write(lines[end - 1 : end])
            seen += reader.new_records()
            assert len(seen) == lines[:end].count(b"\n")
    assert [(record["step"], record["loss"]) for record in seen] == [(n, n / 3) for n in (1, 2, 3)]


@pytest.mark.parametrize("left", range(0, 60, 7))
def test_whatever_a_kill_leaves_of_the_last_line_is_cut(path: Path, left: int) -> None:
    writer = Journal(path)
    first = writer.append("step", step=1, loss=0.1)
    whole = path.stat().st_size
    writer.append("step", step=2, loss=0.2)
    writer.close()
    with path.open("r+b") as file:
        file.truncate(min(whole + left, path.stat().st_size - 1))
    reader = JournalReader(path)
    assert reader.new_records() == [first]
    again = Journal(path)
    second = again.append("step", step=2, loss=0.2)
    again.close()
    assert reader.new_records() == [second]
    assert read_journal(path) == [first, second]


def test_a_journal_that_is_one_torn_line_starts_again(path: Path) -> None:
    path.write_bytes(b'{"kind": "sta')
    writer = Journal(path)
    writer.append("start")
    writer.close()
    assert [record["kind"] for record in read_journal(path)] == ["start"]


def test_the_curve_is_the_steps_alone() -> None:
    records = [{"kind": "start"}, {"kind": "step", "step": 1, "loss": 2.0}, {"kind": "evaluation", "step": 1}]
    assert loss_curve(records) == [(1, 2.0)]
    assert [record["kind"] for record in of_kind(records, "evaluation")] == ["evaluation"]


def test_the_curve_digest_is_over_the_exact_bits(path: Path) -> None:
    points = [(1, 10.8), (2, 0.1 + 0.2), (2**40, math.nan)]
    by_hand = b"".join(step.to_bytes(8, "little") + struct.pack("<d", loss) for step, loss in points)
    assert curve_sha256(points) == hashlib.sha256(by_hand).hexdigest()
    assert curve_sha256([]) == hashlib.sha256().hexdigest()
    writer = Journal(path)
    for step, loss in points[:2]:
        writer.append("step", step=step, loss=loss)
    writer.close()
    assert curve_sha256(loss_curve(read_journal(path))) == curve_sha256(points[:2])


@pytest.mark.parametrize("other", [(1, math.nextafter(0.3, 1)), (2, 0.3), (1, -0.3)])
def test_another_step_or_bit_is_another_digest(other: tuple[int, float]) -> None:
    assert curve_sha256([other]) != curve_sha256([(1, 0.3)])
    assert curve_sha256([(1, 0.0)]) != curve_sha256([(1, -0.0)])


def test_a_damaged_line_is_told_in_a_sentence(path: Path) -> None:
    Journal(path).append("step", step=1)
    whole = path.read_bytes()
    for damaged in (whole.replace(b"{", b"\xff"), whole.replace(b":", b";")):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=f"{path} is damaged"):
            read_journal(path)
