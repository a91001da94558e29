"""What the processes of all trials are forked from: a process that has done a tiny run, and so imported everything."""

import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from minigpt.training.trainer import Trainer
from tasks.tracking.publish import publish_run
from tasks.tracking.write import set_status
from tests.faults import tiny

with TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
    patch.setenv("MINIGPT_HOME", place)
    run = tiny.prepare(Path(place))
    Trainer(run.folder).run()
    publish_run(run)
    set_status(run, "FINISHED", "completed", {})

assert threading.active_count() == 1, "a fork takes the locks of a thread along, and not the thread"
