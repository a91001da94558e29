"""The journal: whole lines only, nothing read twice, and exact to the last bit of a float."""

import hashlib
import json
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from minigpt.cost.config import CostConfig
from minigpt.cost.price import Quote, make_quote
from minigpt.errors import InputError
from minigpt.io.journal import (
    DamagedJournalError,
    Journal,
    JournalReader,
    curve_sha256,
    loss_curve,
    read_journal,
)
from minigpt.io.records import (
    CLASSES,
    FIELDS,
    FORMAT_VERSION,
    SINCE_VERSION_2,
    CheckpointRecord,
    EndRecord,
    EvaluationRecord,
    ProbeRecord,
    Record,
    RepeatedRecord,
    SampleRecord,
    of_kind,
    values_of,
)
from tests import records

QUOTE = make_quote(
    parameters=3,
    flops_per_token=0.1,
    flops_formula="6N",
    step_seconds=[0.1, 0.2],
    steps=3,
    tokens_per_step=7,
    other_seconds=1 / 3,
    config=CostConfig(),
)
TIMINGS = {"step_seconds": [0.1], "evaluation_seconds": 0.1, "sample_seconds": 0.1, "checkpoint_seconds": 0.1}
ONE_OF_EACH: list[Record] = [
    records.start(),
    records.resume(),
    ProbeRecord(**TIMINGS),
    records.step(1),
    records.evaluation(1),
    SampleRecord(step=1, text="a"),
    CheckpointRecord(step=1, name="last-0000001"),
    RepeatedRecord(step=1, training_seconds=0.5),
    EndRecord(status="completed", error=None, step=1, training_seconds=0.5, weights_sha256="0" * 64),
]
# Values for a field by its type; nothing else equals a NaN, and a newer version is refused.
VALUES: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(),
    float: st.floats(allow_nan=False),
    str: st.text(),
    str | None: st.none() | st.text(),
    list[str]: st.lists(st.text()),
    list[float]: st.lists(st.floats(allow_nan=False)),
    Quote | None: st.none() | st.just(QUOTE),
}


def of_class(record_class: type[Record]) -> st.SearchStrategy[Record]:
    hints = get_type_hints(record_class)
    values = {name: VALUES[hints[name]] for name in FIELDS[record_class]}
    if "format_version" in values:
        values["format_version"] = st.integers(1, FORMAT_VERSION)
    return st.builds(record_class, **values)


RECORDS = st.one_of([of_class(record_class) for record_class in CLASSES.values()])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def test_before_the_first_record_there_is_nothing(path: Path) -> None:
    reader = JournalReader(path)
    assert reader.new_records() == []
    writer = Journal(path)
    assert reader.new_records() == []
    first = records.start()
    writer.append(first)
    assert reader.new_records() == [first]
    assert reader.new_records() == []
    writer.close()


def test_a_line_is_the_kind_the_time_and_the_fields(path: Path) -> None:
    record = records.evaluation(4, 1.5, 2.5)
    writer = Journal(path)
    writer.append(record)
    writer.sync()
    writer.close()
    assert record.time_ms > 1_700_000_000_000
    losses = '"train_loss": 1.5, "val_loss": 2.5, "train_bits_per_byte": 0.75, "val_bits_per_byte": 1.25'
    assert path.read_text() == f'{{"kind": "evaluation", "time_ms": {record.time_ms}, "step": 4, {losses}}}\n'
    assert read_journal(path) == [record]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(RECORDS, max_size=5))
@example([SampleRecord(step=0, text="\n\r\x00\x85\u2028\ud800")])
@example([ProbeRecord(step_seconds=[], evaluation_seconds=1, sample_seconds=0.1, checkpoint_seconds=0.0, quote=QUOTE)])
def test_any_record_comes_back_as_it_was(path: Path, written: list[Record]) -> None:
    """Line ends, NUL and lone surrogates in a text break no line; no float loses a bit."""
    path.unlink(missing_ok=True)
    writer = Journal(path)
    for record in written:
        writer.append(record)
    writer.close()
    assert read_journal(path) == written


def in_file(record: Record) -> dict[str, Any]:
    return {"kind": record.kind, **values_of(record)}


def test_a_reader_sees_only_whole_lines_wherever_the_write_stands(path: Path) -> None:
    lines = b"".join(json.dumps(in_file(records.step(n, n / 3))).encode() + b"\n" for n in (1, 2, 3))
    reader, seen = JournalReader(path), []
    with path.open("wb", buffering=0) as file:
        for end in range(1, len(lines) + 1):
            file.write(lines[end - 1 : end])
            seen += reader.new_records()
            assert len(seen) == lines[:end].count(b"\n")
    assert [(record.step, record.loss) for record in seen] == [(n, n / 3) for n in (1, 2, 3)]


@pytest.mark.parametrize("left", range(0, 60, 7))
def test_whatever_a_kill_leaves_of_the_last_line_is_cut(path: Path, left: int) -> None:
    writer = Journal(path)
    first, second = records.step(1, 0.1), records.step(2, 0.2)
    writer.append(first)
    whole = path.stat().st_size
    writer.append(second)
    writer.close()
    with path.open("r+b") as file:
        file.truncate(min(whole + left, path.stat().st_size - 1))
    reader = JournalReader(path)
    assert reader.new_records() == [first]
    again = Journal(path)
    again.append(second)
    again.close()
    assert reader.new_records() == [second]
    assert read_journal(path) == [first, second]


def test_a_journal_that_is_one_torn_line_starts_again(path: Path) -> None:
    path.write_bytes(b'{"kind": "sta')
    writer = Journal(path)
    first = records.start()
    writer.append(first)
    writer.close()
    assert read_journal(path) == [first]


def test_the_curve_is_the_steps_alone() -> None:
    journal = [records.start(), records.step(1, 2.0), records.evaluation(1)]
    assert loss_curve(journal) == [(1, 2.0)]
    assert list(of_kind(journal, EvaluationRecord)) == journal[2:]


def test_the_curve_digest_is_over_the_exact_bits(path: Path) -> None:
    points = [(1, 10.8), (2, 0.1 + 0.2), (2**40, math.nan)]
    by_hand = b"".join(step.to_bytes(8, "little") + struct.pack("<d", loss) for step, loss in points)
    assert curve_sha256(points) == hashlib.sha256(by_hand).hexdigest()
    assert curve_sha256([]) == hashlib.sha256().hexdigest()
    writer = Journal(path)
    for step, loss in points[:2]:
        writer.append(records.step(step, loss))
    writer.close()
    assert curve_sha256(loss_curve(read_journal(path))) == curve_sha256(points[:2])


@pytest.mark.parametrize("other", [(1, math.nextafter(0.3, 1)), (2, 0.3), (1, -0.3)])
def test_another_step_or_bit_is_another_digest(other: tuple[int, float]) -> None:
    assert curve_sha256([other]) != curve_sha256([(1, 0.3)])
    assert curve_sha256([(1, 0.0)]) != curve_sha256([(1, -0.0)])


def test_a_damaged_line_is_told_in_a_sentence(path: Path) -> None:
    Journal(path).append(records.step(1))
    whole = path.read_bytes()
    for damaged in (whole.replace(b"{", b"\xff"), whole.replace(b":", b";")):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=f"{path} is damaged"):
            read_journal(path)


@pytest.mark.parametrize(
    "line",
    [
        b"{}",
        b"[]",
        b"7",
        b'{"kind": []}',
        b'{"kind": "stap", "time_ms": 1}',
        b'{"kind": "sample", "time_ms": 1, "step": 1}',
        b'{"kind": "sample", "step": 1, "text": "a"}',
        b'{"kind": "sample", "time_ms": 1, "step": "1", "text": "a"}',
        b'{"kind": "sample", "time_ms": 1, "step": 1.0, "text": "a"}',
    ],
)
def test_a_line_that_is_no_record_is_damage(line: bytes, path: Path) -> None:
    Journal(path).append(records.start())
    reader = JournalReader(path)
    reader.new_records()
    place = path.stat().st_size
    with path.open("ab") as file:
        file.write(line + b"\n")
    with pytest.raises(
        DamagedJournalError, match=rf"{path} is damaged after byte {place:,} \(.*restore it from a backup"
    ):
        reader.new_records()


@pytest.mark.parametrize("field", ["tokens", "bill", "usd"])
def test_a_quote_that_is_none_is_damage(field: str, path: Path) -> None:
    Journal(path).append(ProbeRecord(**TIMINGS, quote=QUOTE))
    path.write_text(path.read_text().replace(f'"{field}":', f'"no_{field}":'))
    with pytest.raises(DamagedJournalError, match="has an invalid quote"):
        read_journal(path)


@pytest.mark.parametrize("kind", CLASSES)
def test_a_journal_without_a_version_has_version_1(kind: str, path: Path) -> None:
    """As old runs have it: without the fields that came later."""
    record = next(one for one in ONE_OF_EACH if one.kind == kind)
    path.write_text(json.dumps({k: v for k, v in in_file(record).items() if k not in SINCE_VERSION_2}) + "\n")
    [read] = read_journal(path)
    assert {**in_file(read), "format_version": 1} == {**in_file(record), "format_version": 1}
    assert getattr(read, "format_version", 1) == 1


@pytest.mark.parametrize("begun", [records.start, records.resume])
def test_a_newer_version_is_named_and_is_no_damage(begun: Callable[..., Record], path: Path) -> None:
    Journal(path).append(begun(format_version=FORMAT_VERSION + 1))
    with path.open("ab") as file:
        file.write(b'{"kind": "of that version"}\n')
    with pytest.raises(
        InputError, match=rf"format version {FORMAT_VERSION + 1}, but .* up to {FORMAT_VERSION}; use"
    ) as e:
        read_journal(path)
    assert not isinstance(e.value, DamagedJournalError)
    assert "\n" not in str(e.value)
