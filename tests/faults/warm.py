"""What the processes of all trials are forked from: a process that has done a tiny run, and so imported everything."""

import threading
from pathlib import Path
from tempfile import TemporaryDirectory

from minigpt import journal, worker
from tasks.tracking import Follower
from tests.faults import tiny, victim

with TemporaryDirectory() as place:
    run = tiny.prepare(Path(place))
    worker.Worker(run.folder).run()
    Follower(run, tiny.STEPS).send(journal.read(run.folder / worker.JOURNAL))
    victim.MlflowClient(run.tracking.tracking_uri).set_terminated(run.run_id)

assert threading.active_count() == 1, "a fork takes the locks of a thread along, and not the thread"
