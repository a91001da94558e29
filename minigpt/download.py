"""Downloads with bounds: bytes, time, redirects and a digest; whole or not there.

Retrying is left to the caller, who learns from the error whether it can help.
"""

import hashlib
import ipaddress
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urljoin, urlsplit, urlunsplit

import httpx

from minigpt.errors import InputError
from minigpt.store import sync

MAX_REDIRECTS = 5


class DownloadError(InputError):
    """A download that did not work; `transient` if the same address may work later."""

    def __init__(self, message: str, *, transient: bool) -> None:
        super().__init__(message)
        self.transient = transient


def public_address(address: str) -> str:
    """An address without user, password, query and fragment; a path as it is."""
    if "://" not in address:
        return address
    parts = urlsplit(address)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def download(
    address: str,
    destination: Path,
    *,
    max_bytes: int,
    sha256: str | None,
    timeout_seconds: float = 20.0,
    deadline_seconds: float = 600.0,
) -> str:
    """Fetch `address` into the file `destination` and return its sha256.

    timeout_seconds bounds each wait for the other side, deadline_seconds the whole; on an error nothing is left.
    """
    temporary = destination.with_name(f".{destination.name}.{os.getpid()}.incomplete")
    try:
        deadline = time.monotonic() + deadline_seconds
        found = _fetch(address, temporary, max_bytes, timeout_seconds, deadline)
        if sha256 is not None and found != sha256:
            raise DownloadError(
                f"{public_address(address)} has sha256 {found}, and {sha256} is pinned; "
                "give the pinned text, or accept this one with corpus.sha256=null",
                transient=False,
            )
        sync(temporary)
        temporary.rename(destination)
    finally:
        temporary.unlink(missing_ok=True)
    return found


def _fetch(address: str, temporary: Path, max_bytes: int, timeout_seconds: float, deadline: float) -> str:
    shown = public_address(address)
    digest, size = hashlib.sha256(), 0
    try:
        with _response(address, timeout_seconds) as response, temporary.open("wb") as file:
            expected = _expected_bytes(response, shown, max_bytes)
            for chunk in response.iter_raw():  # as it arrives, so that a drip is seen
                size += len(chunk)
                if size > max_bytes:
                    raise _too_large(shown, size, max_bytes)
                if time.monotonic() > deadline:
                    raise DownloadError(f"{shown} sent {size} bytes and was too slow; try again later", transient=True)
                digest.update(chunk)
                file.write(chunk)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = type(error).__name__
        raise DownloadError(
            f"{shown} cannot be fetched ({reason}); check it, or try again later", transient=True
        ) from None
    if expected is not None and size != expected:
        raise DownloadError(f"{shown} sent {size} of the {expected} bytes that it told; try again", transient=True)
    return digest.hexdigest()


@contextmanager
def _response(address: str, timeout_seconds: float) -> Iterator[httpx.Response]:
    """The answer behind at most MAX_REDIRECTS redirects, each looked at before it is followed."""
    shown, first = public_address(address), address
    with httpx.Client(timeout=timeout_seconds, follow_redirects=False) as client:
        for _ in range(MAX_REDIRECTS + 1):
            with client.stream("GET", address, headers={"Accept-Encoding": "identity"}) as response:
                if not response.is_redirect:
                    _check_status(response, shown)
                    yield response
                    return
                address = urljoin(address, response.headers["location"])
                _check_redirect(first, address)
    raise DownloadError(f"{shown} redirects more than {MAX_REDIRECTS} times; give the last address", transient=False)


def _check_status(response: httpx.Response, shown: str) -> None:
    status = response.status_code
    if status != httpx.codes.OK:
        transient = status in (408, 429) or status >= 500
        way_out = "try again later" if transient else "give another address"
        raise DownloadError(f"{shown} answers with status {status}; {way_out}", transient=transient)
    if (encoding := response.headers.get("content-encoding", "identity").lower()) != "identity":
        raise DownloadError(f"{shown} answers compressed ({encoding}), which is not accepted", transient=False)


def _check_redirect(first: str, target: str) -> None:
    """Refuse a redirect out of the web, or from a public address to a private one."""
    shown, scheme = public_address(target), urlsplit(target).scheme
    if scheme not in ("http", "https"):
        raise DownloadError(f"{public_address(first)} redirects to {scheme}:, which is not followed", transient=False)
    address = _ip(target)
    if address is not None and (address.is_link_local or (not address.is_global and _is_global(first))):
        raise DownloadError(
            f"{public_address(first)} redirects to the private address {shown}, which is not followed", transient=False
        )


def _ip(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The host of an address, if it is written as a number (or as localhost)."""
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        return None


def _is_global(address: str) -> bool:
    ip = _ip(address)
    return ip is None or ip.is_global


def _expected_bytes(response: httpx.Response, shown: str, max_bytes: int) -> int | None:
    told = response.headers.get("content-length")
    if told is None:
        return None
    if int(told) > max_bytes:
        raise _too_large(shown, int(told), max_bytes)
    return int(told)


def _too_large(shown: str, size: int, max_bytes: int) -> DownloadError:
    return DownloadError(
        f"{shown} has {size} bytes or more, over corpus.max_bytes {max_bytes}; raise it", transient=False
    )
