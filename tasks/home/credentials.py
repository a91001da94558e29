"""Secrets in addresses: the config, and so every log, param and form, holds ${NAME} in their place."""

import os
import re
from typing import Any

from minigpt.data.sources import check_scheme
from minigpt.errors import InputError
from minigpt.io.download import has_cut_password, public_address

USER_AND_PASSWORD = "MINIGPT_CORPUS_CREDENTIALS"  # noqa: S105  (a name)
QUERY = "MINIGPT_CORPUS_QUERY"
VARIABLE = re.compile(r"\$\{(\w+)\}")
# With all that follows, for a password may have any letter.
ADDRESS = re.compile(r"(?s)[\w+.-]*://.*")
PARTS = re.compile(r"(?i)^(?P<scheme>https?://)(?:(?P<user>[^/?#]*)@)?(?P<place>[^?#]*)(?:\?(?P<query>[^#]*))?")


def hide(source: str) -> str:
    """The source with user, password and query moved into this process's environment, where `reveal` finds them."""
    check_scheme(source)
    parts = PARTS.match(source)
    if parts is None:
        return source
    if parts["user"] is None and has_cut_password(source):
        raise InputError(
            f"the corpus address of {public_address(source)} has a password with a /, ? or # in it; write these as "
            "%2F, %3F and %23"
        )
    user = f"{_moved(USER_AND_PASSWORD, parts['user'])}@" if parts["user"] else ""
    query = f"?{_moved(QUERY, parts['query'])}" if parts["query"] else ""
    return f"{parts['scheme'].lower()}{user}{parts['place']}{query}"


def _placeholder(name: str) -> str:
    return f"${{{name}}}"


def _moved(name: str, value: str) -> str:
    """What stands for the value, which may itself be that placeholder."""
    if value == _placeholder(name):
        return value
    for inside in VARIABLE.findall(value):
        if inside in (USER_AND_PASSWORD, QUERY) or inside in os.environ:
            part = "query" if name == QUERY else "user and password"
            raise InputError(
                f"the corpus address has ${{{inside}}} inside of its {part}; put the whole of it into the variable "
                f"{name}, and {_placeholder(name)} in its place"
            )
    os.environ[name] = value
    return _placeholder(name)


def reveal(source: str) -> str:
    """The source with the two placeholders, each in its own place, replaced by those variables' values.

    No other variable is, for a config may be someone else's, and send what it is given to an address of theirs.
    """
    for name, before, behind in ((USER_AND_PASSWORD, "://", "@"), (QUERY, "?", "")):
        if (place := f"{before}{_placeholder(name)}{behind}") in source:
            if name not in os.environ:
                raise InputError(f"corpus.source needs the environment variable {name}, which is not set; set it")
            source = source.replace(place, f"{before}{os.environ[name]}{behind}", 1)
    return source


def shown(value: Any) -> str:
    """A value that is wrong, for a sentence about it; an address in it may hold a password."""
    if "://" not in repr(value):
        return repr(value)
    return repr(ADDRESS.sub("(an address)", value)) if isinstance(value, str) else f"a {type(value).__name__}"
