"""What is new since the last run of a config's name: of a schedule, since the last night."""

from collections.abc import Mapping
from typing import Any

from minigpt.data.sources import Corpus
from minigpt.errors import InputError
from minigpt.evaluation.contamination import contained_fraction
from minigpt.io.text import size_bytes
from tasks.runs.files import CORPUS_FILE
from tasks.runs.run import Run, ended_alike

# Longer texts are told apart by their sizes alone.
COMPARED_MAX_BYTES = 50_000_000
# A text that grows from night to night does not shrink by so much.
SHRUNK_SHARE = 0.02
# With these, text and config the same, a result is the same.
MADE_WITH = ("code_sha256", "packages", "switches")


def since_last_run(params: Mapping[str, str], facts: Mapping[str, Any], corpus: Corpus) -> str:
    """A sentence where there is such a run and its text is another, or nothing at all; else nothing."""
    if (last := next(ended_alike(params), None)) is None:
        return ""
    try:
        before = last.facts()
        sha256_before, size_before = (before["corpus"][fact] for fact in ("sha256", "size_bytes"))
    except (InputError, KeyError):  # damaged
        return ""
    if sha256_before != corpus.sha256:
        return _other_text(last, size_before, corpus)
    if _deciding(last.params) == _deciding(params) and all(before.get(fact) == facts.get(fact) for fact in MADE_WITH):
        return f"Nothing has changed since run {last.run_id[:12]}: text, training and code are the same."
    return ""


def _deciding(params: Mapping[str, str]) -> dict[str, str]:
    """What the weights come from."""
    return {name: value for name, value in params.items() if not name.startswith("held_out.")}


def _other_text(last: Run, size_before: int, corpus: Corpus) -> str:
    added, shrunk = 0.0, corpus.size_bytes < (1 - SHRUNK_SHARE) * size_before
    said = f"The text has changed since run {last.run_id[:12]}: {size_before:,} -> {corpus.size_bytes:,} bytes"
    kept = last.folder / CORPUS_FILE
    if kept.exists() and max(size_before, corpus.size_bytes) <= COMPARED_MAX_BYTES:
        with kept.open("rb") as old, corpus.path.open("rb") as new:
            lost, added = (
                1 - contained_fraction(old, new, size_bytes(new)),
                1 - contained_fraction(new, old, size_bytes(old)),
            )
        said += f", {_share(added)} of it new, {_share(lost)} of the old one gone"
    return said + ("; was it cut short?" if shrunk and added < SHRUNK_SHARE else ".")


def _share(share: float) -> str:
    return "less than 0.1%" if 0 < share < 0.001 else f"{share:.1%}"
