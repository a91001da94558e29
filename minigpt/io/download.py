"""Downloads with bounds: bytes, time, redirects, where they may lead, and a digest; whole or not there.

Retrying is left to the caller, who learns from the error whether it can help.
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
# A long text may take longer than a short one, as long as it keeps coming.
SLOWEST_BYTES_PER_SECOND = 100_000


class DownloadError(InputError):
    """A download that did not work; `transient` if the same address may work later."""

    def __init__(self, message: str, *, transient: bool) -> None:
        super().__init__(message)
        self.transient = transient


def public_address(address: str) -> str:
    """An address without user, password, query and fragment; a path as it is."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        return address
    if "@" in (authority := _authority(rest)):
        rest = rest[authority.rindex("@") + 1 :]
    elif has_cut_password(address):
        rest = rest.rpartition("@")[2]
    return f"{scheme}://{re.split('[?#]', rest, maxsplit=1)[0]}"


def _authority(rest: str) -> str:
    """What stands between :// and the path."""
    return re.split("[/?#]", rest, maxsplit=1)[0]


def has_cut_password(address: str) -> bool:
    """Whether what stands in the port's place is none, but the beginning of a password with an unescaped /, ? or #."""
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

    private_hosts may be asked although their numbers are private;
    timeout_seconds bounds each wait for the other side; deadline_seconds, and what SLOWEST_BYTES_PER_SECOND adds for
    what has come, the whole; on an error nothing is left.
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
            f"{shown} was too slow: not whole after {deadline_seconds:g} seconds and one more for each "
            f"{SLOWEST_BYTES_PER_SECOND:,} bytes; try again later",
            transient=True,
        ) from None
    # Their words may hold a part of a password; the last is of a host that no name server could be asked for.
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
    """Refuse another digest than the one that is pinned, if one is."""
    if sha256 is not None and found != sha256:
        raise DownloadError(
            f"{shown} has sha256 {found}, and {sha256} is pinned; "
            "give what has that digest, or accept another text with corpus.sha256=null",
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
            async for chunk in response.aiter_raw():  # as it arrives, so that a drip is seen
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
    """The answer behind at most MAX_REDIRECTS redirects, each looked at before it is followed."""
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
    raise DownloadError(f"{shown} redirects more than {MAX_REDIRECTS} times; give the last address", transient=False)


def _check_status(response: httpx.Response, shown: str) -> None:
    status = response.status_code
    if status != httpx.codes.OK:
        transient = status in (408, 429) or status >= 500
        way_out = "try again later" if transient else "give another address"
        raise DownloadError(f"{shown} answers with status {status}; {way_out}", transient=transient)
    if (encoding := response.headers.get("content-encoding", "identity").lower()) != "identity":
        raise DownloadError(
            f"{shown} answers compressed ({encoding}), which is not accepted; unpack it and give the file",
            transient=False,
        )


async def check_target(first: httpx.URL, target: httpx.URL, private_hosts: Collection[str] = ()) -> None:
    """Refuse what no redirect may leave the web for, and every host whose numbers are not for everybody.

    This machine's own numbers, and those of a private network, may be asked where the address that the user gave
    spells such a number (or localhost) itself; a name that turns out to stand for one, or a redirect, may not lead
    there unless the host is allowed, and nothing else to a link-local number, behind which clouds keep their keys.
    """
    shown = public_address(str(target))
    if target.scheme not in ("http", "https"):
        raise DownloadError(
            f"{public_address(str(first))} redirects to {target.scheme}:, which is not followed; give another address",
            transient=False,
        )
    if not target.host:
        raise DownloadError(f"{shown} names no host; give http://HOST/PATH", transient=False)
    if target.host in private_hosts:
        return
    spelt = first.host == target.host and _number(target.host) is not None
    for ip in await _numbers(target):
        if ip.is_link_local or (not ip.is_global and not spelt):
            raise DownloadError(
                f"{public_address(str(first))} leads to the private address {shown} ({ip}), which is not followed; "
                f"allow it with corpus.private_hosts='[\"{target.host}\"]', or give a public address or a file",
                transient=False,
            )


def _number(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        return None


async def _numbers(url: httpx.URL) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """What the system makes of a host, other spellings of a number included; nothing if it does not know the name."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(url.host.rstrip("."), url.port or 0, type=socket.SOCK_STREAM)
    except OSError:
        return []  # connecting will say so, or a proxy knows it
    return [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]


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
