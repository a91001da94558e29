"""What has changed since the last run of the same config name, such as the previous run of a schedule."""

from collections.abc import Mapping

from minigpt.data.sources import Corpus
from minigpt.errors import InputError
from minigpt.evaluation.contamination import contained_fraction
from minigpt.io.text import size_bytes
from tasks.runs.files import CORPUS_FILE
from tasks.runs.provenance import Facts
from tasks.runs.run import Run, ended_alike

# Longer texts are compared by size alone.
COMPARED_MAX_BYTES = 50_000_000
# A corpus that grows from run to run does not lose this share of its bytes, unless it was cut short.
SHRUNK_SHARE = 0.02


def since_last_run(params: Mapping[str, str], facts: Facts, corpus: Corpus) -> str:
    """Compare a new run with the last one that ended for the same config name and source.

    Returns one sentence if the text changed, or if text, training and code are all unchanged; otherwise "".
    """
    if (last := next(ended_alike(params), None)) is None:
        return ""
    try:
        before = last.facts()
    except InputError:  # damaged
        return ""
    if before.corpus.sha256 != corpus.sha256:
        return _other_text(last, before.corpus.size_bytes, corpus)
    if _deciding(last.params) == _deciding(params) and _code(before) == _code(facts):
        return f"Nothing has changed since run {last.short_id}: text, training and code are the same."
    return ""


def _deciding(params: Mapping[str, str]) -> dict[str, str]:
    """The params that decide the weights: all but those of the held-out text."""
    return {name: value for name, value in params.items() if not name.startswith("held_out.")}


def _code(facts: Facts) -> tuple[object, ...]:
    """The facts that, together with the text and the config, decide a result."""
    return facts.code_sha256, facts.packages, facts.switches


def _other_text(last: Run, size_before: int, corpus: Corpus) -> str:
    added, shrunk = 0.0, corpus.size_bytes < (1 - SHRUNK_SHARE) * size_before
    sentence = f"The text has changed since run {last.short_id}: {size_before:,} -> {corpus.size_bytes:,} bytes"
    kept = last.folder / CORPUS_FILE
    if kept.exists() and max(size_before, corpus.size_bytes) <= COMPARED_MAX_BYTES:
        with kept.open("rb") as old, corpus.path.open("rb") as new:
            lost, added = (
                1 - contained_fraction(old, new, size_bytes(new)),
                1 - contained_fraction(new, old, size_bytes(old)),
            )
        sentence += f", {_share(added)} of it new, {_share(lost)} of the old one gone"
    return sentence + ("; was it cut short?" if shrunk and added < SHRUNK_SHARE else ".")


def _share(share: float) -> str:
    return "less than 0.1%" if 0 < share < 0.001 else f"{share:.1%}"
