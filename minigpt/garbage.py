"""Python's collector of cyclic garbage, kept away from modules, which are none.

It looks through all of them time and again while they are imported, and once more when the process ends: a fifth of
the imports of a process of ours, and a second at the end of the one that has Prefect, MLflow and torch.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

# New objects from one collection to the next; by default 700.
RARELY = 50_000


@contextmanager
def collecting_rarely() -> Iterator[None]:
    """For a block that imports; what is there when it is left is never looked through again."""
    usual = gc.get_threshold()
    gc.set_threshold(RARELY)
    try:
        yield
    finally:
        gc.set_threshold(*usual)
        gc.freeze()
