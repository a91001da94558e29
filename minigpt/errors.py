"""The exceptions that are told in a sentence; every other one is a bug of ours and shows its traceback."""

# Exit code of a command, or of a training process, whose input is wrong; its last line says what.
INPUT_IS_WRONG = 2


class InputError(Exception):
    """What the user gave is wrong; the message is one sentence with the value, the limit and the way out."""


class FailedError(Exception):
    """The machine or a service failed; the message says what, and how to go on."""
