"""Exceptions that a command reports in one sentence; any other exception is a bug and shows its traceback."""

import errno
from pathlib import Path

# Exit codes of a command and of a training process. For INPUT_IS_WRONG the last line of stderr is the error.
INPUT_IS_WRONG, FAILED = 2, 1


class InputError(Exception):
    """The user's input is wrong; the message is one sentence with the value, the limit and the way out."""


class SmallCorpusError(InputError):
    """The corpus is too short for the windows that the config asks for."""


class FailedError(Exception):
    """The machine or a service failed; the message says what failed and how to continue."""


def on_one_line(error: Exception) -> str:
    """The message of an error on one line, cut between words.

    The limit is higher for an InputError or FailedError, because its message ends with the way out.
    """
    said = " ".join(str(error).split())
    limit = 2000 if isinstance(error, InputError | FailedError) else 250
    cut = said[:limit].rpartition(" ")[0] or said[:limit]
    return said if len(said) <= limit else f"{cut} …"


def fault_of_the_disk(error: OSError, folder: Path) -> str | None:
    """Describe an error of a full, broken or read-only disk; None for any other error.

    An error from an open file does not name that file, which is then either in `folder` or the command's output.
    """
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES):
        return None
    return f"{error.strerror}: {error.filename or f'the disk of {folder}, or of the output'}"
