"""The one exception that is the user's to solve."""


class InputError(Exception):
    """What the user gave is wrong; the message is one sentence with the value, the limit and the way out."""
