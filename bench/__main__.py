"""`python -m bench [PART ...]`: measure everything or some parts, and write the results beside this file."""

import time
from collections.abc import Callable
from typing import Annotated

import typer

from bench import (
    ablations,
    checkpoint,
    generation,
    job,
    machine,
    overhead,
    picture,
    proof,
    quality,
    results,
    startup,
    step,
    tokenization,
)
from bench.measure import say
from bench.results import Outcome

PARTS: dict[str, Callable[[], Outcome]] = {
    "step": step.run,
    "generation": generation.run,
    "quality": quality.run,
    "tokenization": tokenization.run,
    "job": job.run,
    "overhead": overhead.run,
    "startup": startup.run,
    "checkpoint": checkpoint.run,
    "proof": proof.run,
    "ablations": ablations.run,
    "ablations-docstrings": ablations.run_docstrings,
    "ablations-reading": ablations.run_reading,
}
ON_DEMAND = {"ablations", "ablations-docstrings", "ablations-reading"}


def main(parts: Annotated[list[str] | None, typer.Argument(help=f"Some of: {', '.join(PARTS)}.")] = None) -> None:
    """Measure the parts, by default all but the ablations, and write the tables."""
    chosen = parts or [part for part in PARTS if part not in ON_DEMAND]
    if unknown := [part for part in chosen if part not in PARTS]:
        raise typer.BadParameter(f"{unknown[0]} is none of {', '.join(PARTS)}; give one of them")
    for part in chosen:
        say(f"== {part}")
        facts, started = machine.facts(), time.perf_counter()
        outcome = PARTS[part]()
        results.store(part, outcome, {**facts, "seconds": round(time.perf_counter() - started)})
        for row in outcome.rows:
            say("  ".join(row.cells()))
        known = results.read()
        results.MARKDOWN.write_text(results.markdown(known, list(PARTS)))
        picture.draw(known)


if __name__ == "__main__":
    typer.run(main)
