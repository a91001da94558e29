"""Python's collector of cyclic garbage, kept away from modules, which are none.

It looks through all of them time and again while they are imported, and once more when the process ends: a fifth of
the imports of a process of ours, and a second at the end of the one that has Prefect, MLflow and torch.
"""

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Import in this block without the collector, which never looks at what is there when the block is left."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()
        atexit.register(gc.freeze)
