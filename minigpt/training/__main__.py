"""The training process: `python -m minigpt.training RUN_FOLDER`, started with the environment that the job records.

It ends in good order, with a checkpoint, on SIGTERM and when its standard input closes, that is when the process that
started it is gone.
"""

import os
import signal
import sys
import threading
from pathlib import Path

from minigpt.errors import INPUT_IS_WRONG, InputError
from minigpt.runtime.startup import bounded_start, collecting_rarely


def train_run_folder(run_folder: Path) -> None:
    with collecting_rarely():
        from minigpt.training.trainer import Trainer

    trainer = Trainer(run_folder)
    signal.signal(signal.SIGTERM, lambda *_: trainer.stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is the starting process's to handle

    def stop_when_input_closes() -> None:
        while os.read(0, 4096):
            pass
        trainer.stop.set()

    with bounded_start():
        threading.Thread(target=stop_when_input_closes, daemon=True).start()
    trainer.run()


if __name__ == "__main__":
    try:
        train_run_folder(Path(sys.argv[1]))
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(INPUT_IS_WRONG)
