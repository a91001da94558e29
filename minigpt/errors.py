"""The exceptions that are told in a sentence; every other one is a bug of ours and shows its traceback."""


class InputError(Exception):
    """What the user gave is wrong; the message is one sentence with the value, the limit and the way out."""


class FailedError(Exception):
    """The machine or a service failed; the message says what, and how to go on."""
