"""Secrets in corpus addresses: the config, and so every log, param and form, has ${NAME} in their place."""

import os
import re
from typing import Any

from minigpt.data.sources import check_scheme
from minigpt.errors import InputError
from minigpt.io.download import has_cut_password, public_address

USER_AND_PASSWORD = "MINIGPT_CORPUS_CREDENTIALS"  # noqa: S105  (a name)
QUERY = "MINIGPT_CORPUS_QUERY"
VARIABLE = re.compile(r"\$\{(\w+)\}")
# Matches to the end of the text, because a password may contain any character.
ADDRESS = re.compile(r"(?s)[\w+.-]*://.*")
PARTS = re.compile(r"(?i)^(?P<scheme>https?://)(?:(?P<user>[^/?#]*)@)?(?P<place>[^?#]*)(?:\?(?P<query>[^#]*))?")


def hide(source: str) -> str:
    """Move user, password and query of a source into this process's environment, and return it with placeholders.

    `reveal` is the inverse. Raises InputError for a password with an unescaped /, ? or #.
    """
    check_scheme(source)
    parts = PARTS.match(source)
    if parts is None:
        return source
    if parts["user"] is None and has_cut_password(source):
        raise InputError(
            f"the corpus address of {public_address(source)} has a /, ? or # in its password; write these as "
            "%2F, %3F and %23"
        )
    user = f"{_moved(USER_AND_PASSWORD, parts['user'])}@" if parts["user"] else ""
    query = f"?{_moved(QUERY, parts['query'])}" if parts["query"] else ""
    return f"{parts['scheme'].lower()}{user}{parts['place']}{query}"


def _placeholder(name: str) -> str:
    return f"${{{name}}}"


def _moved(name: str, value: str) -> str:
    """Put a value into the environment and return its placeholder; a value that is the placeholder stays as it is."""
    if value == _placeholder(name):
        return value
    for inside in VARIABLE.findall(value):
        if inside in (USER_AND_PASSWORD, QUERY) or inside in os.environ:
            part = "query" if name == QUERY else "user and password"
            raise InputError(
                f"the corpus address has ${{{inside}}} inside its {part}; put the complete {part} into the variable "
                f"{name}, and {_placeholder(name)} in its place"
            )
    os.environ[name] = value
    return _placeholder(name)


def reveal(source: str) -> str:
    """Replace the two placeholders of a source, each only in its own position, by the variables' values.

    No other variable is replaced: a config may come from someone else, whose address must not receive our secrets.
    Raises InputError if a variable is not set.
    """
    for name, before, after in ((USER_AND_PASSWORD, "://", "@"), (QUERY, "?", "")):
        if (place := f"{before}{_placeholder(name)}{after}") in source:
            if name not in os.environ:
                raise InputError(f"corpus.source needs the environment variable {name}, which is not set; set it")
            source = source.replace(place, f"{before}{os.environ[name]}{after}", 1)
    return source


def shown(value: Any) -> str:
    """Show a wrong value in an error; an address in it is hidden, because it may contain a password."""
    if "://" not in repr(value):
        return repr(value)
    return repr(ADDRESS.sub("(an address)", value)) if isinstance(value, str) else f"a {type(value).__name__}"
