"""The exceptions that are told in a sentence; every other one is a bug of ours and shows its traceback."""

import errno
from pathlib import Path

# Exit codes of a command, or of a training process: its input is wrong, and its last line says what; anything else.
INPUT_IS_WRONG, FAILED = 2, 1


class InputError(Exception):
    """What the user gave is wrong; the message is one sentence with the value, the limit and the way out."""


class SmallCorpusError(InputError):
    """A text that is too short for the windows that are asked of it."""


class FailedError(Exception):
    """The machine or a service failed; the message says what, and how to go on."""


def on_one_line(error: Exception) -> str:
    """What an error says, as a part of a sentence of ours, cut between words; one of ours ends with the way out."""
    said = " ".join(str(error).split())
    limit = 2000 if isinstance(error, InputError | FailedError) else 250
    cut = said[:limit].rpartition(" ")[0] or said[:limit]
    return said if len(said) <= limit else f"{cut} …"


def fault_of_the_disk(error: OSError, folder: Path) -> str | None:
    """What the system says of a disk that is full, broken or not writable; None of any other error.

    A write to an open file does not name it: it is one in the folder, or where a command's output goes.
    """
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES):
        return None
    return f"{error.strerror}: {error.filename or f'the disk of {folder}, or of the output'}"
