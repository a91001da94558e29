"""Download a file with limits on its size, time, redirects and hosts; the file is either complete or absent.

The caller retries: `DownloadError.transient` is True if a retry may succeed.
"""

import asyncio
import hashlib
import ipaddress
import os
import re
import socket
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from minigpt.errors import InputError
from minigpt.io.store import fsync

MAX_REDIRECTS = 5
# A large file may take longer than the deadline as long as it arrives at this rate.
SLOWEST_BYTES_PER_SECOND = 100_000


class DownloadError(InputError):
    """A download failed; `transient` is True if the same address may work later."""

    def __init__(self, message: str, *, transient: bool) -> None:
        super().__init__(message)
        self.transient = transient


def public_address(address: str) -> str:
    """An address without user, password, query and fragment; a path is returned unchanged."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        return address
    if "@" in (authority := _authority(rest)):
        rest = rest[authority.rindex("@") + 1 :]
    elif has_cut_password(address):
        rest = rest.rpartition("@")[2]
    return f"{scheme}://{re.split('[?#]', rest, maxsplit=1)[0]}"


def _authority(rest: str) -> str:
    """The part of an address between :// and the path."""
    return re.split("[/?#]", rest, maxsplit=1)[0]


def has_cut_password(address: str) -> bool:
    """True if the port is not a number, but the beginning of a password with an unescaped /, ? or #."""
    rest = address.partition("://")[2]
    authority = _authority(rest)
    return "@" in rest.removeprefix(authority) and re.search(r":\D", authority.rpartition("]")[2] + ":") is not None


def download(
    address: str,
    destination: Path,
    *,
    max_bytes: int,
    sha256: str | None,
    private_hosts: Collection[str] = (),
    timeout_seconds: float = 20.0,
    deadline_seconds: float = 600.0,
) -> str:
    """Fetch `address` into the file `destination` and return its sha256.

    `private_hosts` may have private IP addresses. `timeout_seconds` limits each wait for the server, and
    `deadline_seconds` the total time, which is extended by one second for each SLOWEST_BYTES_PER_SECOND received.
    Raise DownloadError, and leave no file, if the download fails or its digest is not `sha256`.
    """
    temporary = destination.with_name(f".{destination.name}.{os.getpid()}.incomplete")
    shown = public_address(address)
    try:
        found = asyncio.run(
            _fetch(address, temporary, max_bytes, timeout_seconds, deadline_seconds, frozenset(private_hosts))
        )
        check_pinned(shown, found, sha256)
        fsync(temporary)
        temporary.rename(destination)
    except TimeoutError:
        raise DownloadError(
            f"{shown} was too slow: incomplete after {deadline_seconds:g} seconds and one more for each "
            f"{SLOWEST_BYTES_PER_SECOND:,} bytes; try again later",
            transient=True,
        ) from None
    # The messages of these errors may contain part of a password. UnicodeError: the host is not a valid name.
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError):
        raise DownloadError(f"{shown} is not a valid address; give http://HOST/PATH", transient=False) from None
    except httpx.HTTPError as error:
        reason = type(error).__name__
        raise DownloadError(
            f"{shown} cannot be fetched ({reason}); check it, or try again later", transient=True
        ) from None
    finally:
        temporary.unlink(missing_ok=True)
    return found


def check_pinned(shown: str, found: str, sha256: str | None) -> None:
    """Raise DownloadError if `sha256` is given and differs from the digest `found`."""
    if sha256 is not None and found != sha256:
        raise DownloadError(
            f"{shown} has sha256 {found}, but {sha256} is pinned; "
            "give the pinned file, or accept another text with corpus.sha256=null",
            transient=False,
        )


async def _fetch(
    address: str,
    temporary: Path,
    max_bytes: int,
    timeout_seconds: float,
    deadline_seconds: float,
    private_hosts: Collection[str],
) -> str:
    shown = public_address(address)
    digest, size = hashlib.sha256(), 0
    latest = asyncio.get_running_loop().time() + deadline_seconds
    async with asyncio.timeout_at(latest) as limit, _response(address, timeout_seconds, private_hosts) as response:
        expected = _expected_bytes(response, shown, max_bytes)
        with temporary.open("wb") as file:
            async for chunk in response.aiter_raw():  # raw, so that a slow stream is noticed
                size += len(chunk)
                if size > max_bytes:
                    raise _too_large(shown, size, max_bytes)
                digest.update(chunk)
                file.write(chunk)
                limit.reschedule(latest + size / SLOWEST_BYTES_PER_SECOND)
    if expected is not None and size != expected:
        raise DownloadError(f"{shown} sent {size} of the {expected} bytes that it announced; try again", transient=True)
    return digest.hexdigest()


@asynccontextmanager
async def _response(
    address: str, timeout_seconds: float, private_hosts: Collection[str]
) -> AsyncIterator[httpx.Response]:
    """The response after at most MAX_REDIRECTS redirects, each of which is checked before it is followed."""
    shown, url, first = public_address(address), httpx.URL(address), httpx.URL(address)
    async with httpx.AsyncClient(timeout=timeout_seconds, follow_redirects=False) as client:
        for _ in range(MAX_REDIRECTS + 1):
            await check_target(first, url, private_hosts)
            async with client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as response:
                if not response.has_redirect_location:
                    _check_status(response, shown)
                    yield response
                    return
                url = url.join(response.headers["location"])
    raise DownloadError(f"{shown} redirects more than {MAX_REDIRECTS} times; give the final address", transient=False)


def _check_status(response: httpx.Response, shown: str) -> None:
    status = response.status_code
    if status != httpx.codes.OK:
        transient = status in (408, 429) or status >= 500
        way_out = "try again later" if transient else "give another address"
        raise DownloadError(f"{shown} returned HTTP status {status}; {way_out}", transient=transient)
    if (encoding := response.headers.get("content-encoding", "identity").lower()) != "identity":
        raise DownloadError(
            f"{shown} returned a compressed response ({encoding}), which is not accepted; unpack it and give the file",
            transient=False,
        )


async def check_target(first: httpx.URL, target: httpx.URL, private_hosts: Collection[str] = ()) -> None:
    """Raise DownloadError if `target` is not http(s), or if its host has a private IP address that is not allowed.

    A loopback or private IP address is allowed if the user's address `first` spells it out (or says localhost). A
    host name that resolves to one, or a redirect, is refused unless the host is in `private_hosts`. A link-local
    address, where clouds serve credentials, is always refused unless its host is in `private_hosts`.
    """
    shown = public_address(str(target))
    if target.scheme not in ("http", "https"):
        raise DownloadError(
            f"{public_address(str(first))} redirects to {target.scheme}:, which is not followed; give another address",
            transient=False,
        )
    if not target.host:
        raise DownloadError(f"{shown} has no host; give http://HOST/PATH", transient=False)
    if target.host in private_hosts:
        return
    spelled_out = first.host == target.host and _ip_address(target.host) is not None
    for ip in await _resolved(target):
        if ip.is_link_local or (not ip.is_global and not spelled_out):
            raise DownloadError(
                f"{public_address(str(first))} leads to the private address {shown} ({ip}), which is not followed; "
                f"allow it with corpus.private_hosts='[\"{target.host}\"]', or give a public address or a file",
                transient=False,
            )


def _ip_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        return None


async def _resolved(url: httpx.URL) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """The IP addresses that the system resolves a host to; empty if it does not know the name."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(url.host.rstrip("."), url.port or 0, type=socket.SOCK_STREAM)
    except OSError:
        return []  # the connection then fails, or a proxy knows the name
    return [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]


def _expected_bytes(response: httpx.Response, shown: str, max_bytes: int) -> int | None:
    announced = response.headers.get("content-length")
    if announced is None:
        return None
    if int(announced) > max_bytes:
        raise _too_large(shown, int(announced), max_bytes)
    return int(announced)


def _too_large(shown: str, size: int, max_bytes: int) -> DownloadError:
    return DownloadError(
        f"{shown} has at least {size} bytes, more than corpus.max_bytes {max_bytes}; raise it", transient=False
    )
