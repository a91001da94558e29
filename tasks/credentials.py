"""Secrets in a corpus's address: the config, and so every log, param and form, holds ${NAME} in their place."""

import os
import re

from minigpt.corpus import check_scheme
from minigpt.download import has_cut_password, public_address
from minigpt.errors import InputError

USER_AND_PASSWORD = "MINIGPT_CORPUS_CREDENTIALS"  # noqa: S105  (a name)
QUERY = "MINIGPT_CORPUS_QUERY"
PARTS = re.compile(r"(?i)^(?P<scheme>https?://)(?:(?P<user>[^/?#]*)@)?(?P<place>[^?#]*)(?:\?(?P<query>[^#]*))?")
PLACEHOLDER = re.compile(r"\$\{(\w+)\}")


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


def _moved(name: str, value: str) -> str:
    """What stands for the value, which may itself be such a placeholder."""
    if PLACEHOLDER.search(value):
        return value
    os.environ[name] = value
    return f"${{{name}}}"


def reveal(source: str) -> str:
    """The source with each ${NAME} replaced by that variable's value."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise InputError(f"corpus.source needs the environment variable {match[1]}, which is not set; set it")
        return os.environ[match[1]]

    return PLACEHOLDER.sub(value, source)
