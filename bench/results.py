"""The results of the parts: stored in results.json, shown in results.md."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from bench.measure import Spread

JSON = Path(__file__).with_name("results.json")
MARKDOWN = Path(__file__).with_name("results.md")
HEADER = (
    "A ratio is that of the medians of both sides in one run; for the loop it is the median of its pairs. Brackets",
    "hold the lowest and the highest round. The limit is the best of 20 for each matmul. The job is two runs of ours",
    "around one of the book's, quality is one run each, and ablations are the mean of their seeds.",
)


@dataclass(frozen=True)
class Row:
    """One figure against its target; without a target it is reported and not judged."""

    what: str
    figure: str
    value: float
    sense: Literal["at most", "at least"]
    target: float | None
    note: str = ""

    @classmethod
    def at_most(cls, what: str, figure: Spread | float, target: float | None, note: str = "") -> "Row":
        return cls(what, shown(figure), median_of(figure), "at most", target, note)

    @classmethod
    def at_least(cls, what: str, figure: Spread | float, target: float | None, note: str = "") -> "Row":
        return cls(what, shown(figure), median_of(figure), "at least", target, note)

    @property
    def met(self) -> bool | None:
        """True if the unrounded median meets the target; None without a target. NaN misses."""
        if self.target is None:
            return None
        return self.value <= self.target if self.sense == "at most" else self.value >= self.target

    def cells(self) -> tuple[str, str, str, str]:
        target = "none" if self.target is None else f"{self.sense} {self.target:g}"
        verdict = {None: "", True: "met", False: "**missed**"}[self.met]
        return f"{self.what} ({self.note})" if self.note else self.what, self.figure, target, verdict


def shown(figure: Spread | float) -> str:
    return str(figure) if isinstance(figure, Spread) else f"{figure:.3g}"


def median_of(figure: Spread | float) -> float:
    return figure.median if isinstance(figure, Spread) else figure


@dataclass(frozen=True)
class Outcome:
    """The results of one part: judged rows, a table that explains them, and the raw figures of both."""

    rows: Sequence[Row]
    table: Sequence[dict[str, Any]] = ()
    data: Any = field(default_factory=dict)


def read() -> dict[str, Any]:
    parts: dict[str, Any] = json.loads(JSON.read_text()) if JSON.exists() else {}
    return parts


def store(part: str, outcome: Outcome, facts: dict[str, Any]) -> None:
    """Replace the stored outcome of one part; the other parts keep theirs, with their own facts."""
    parts = read() | {part: {**facts, **asdict(outcome)}}
    JSON.write_text(json.dumps(parts, indent=1) + "\n")


def markdown(parts: dict[str, Any], order: Sequence[str]) -> str:
    """All rows in one table, then each part's own table with where and when it was measured."""
    known = [name for name in order if name in parts]
    lines = ["# What `make bench` measured", "", *HEADER, ""]
    lines += ["| part | what | figure | target | |", "| --- | --- | --- | --- | --- |"]
    for name in known:
        rows = [Row(**row) for row in parts[name]["rows"]]
        lines += [f"| {name} | " + " | ".join(row.cells()) + " |" for row in rows]
    for name in known:
        part = parts[name]
        lines += [
            "",
            f"## {name}",
            "",
            f"{part['date']}, commit {part['commit']}, {part['machine']}, {part['versions']}",
        ]
        if part["table"]:
            columns = list(part["table"][0])
            lines += ["", f"| {' | '.join(columns)} |", "|" + " --- |" * len(columns)]
            lines += [f"| {' | '.join(str(row[column]) for column in columns)} |" for row in part["table"]]
    return "\n".join(lines) + "\n"
