"""Serve the flow on a schedule."""

import asyncio
import logging
import os
import tempfile
import warnings
import zoneinfo
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import tzlocal
from filelock import FileLock, Timeout

from flows.run import running_prefect
from minigpt.data.sources import PYTHON_TOPICS, is_missing
from minigpt.errors import InputError
from minigpt.recipe import RunConfig
from tasks.home.settings import TrackingSettings, UnreachableError
from tasks.servers.prefect_server import prefect_folder

log = logging.getLogger(__name__)

CRON_FIELDS = 5


def serve_schedule(config: RunConfig, cron: str, tracking: TrackingSettings) -> None:
    """Serve the flow until Ctrl-C; runs are processes of their own, one at a time. `cron` is in local time.

    Raises InputError if `cron` is invalid or never matches, if the local time zone has no name, or if another process
    serves a schedule of this name.
    """
    from prefect.schedules import Cron
    from prefect.server.schemas.schedules import CronSchedule
    from prefect.types.entrypoint import EntrypointType

    zone = _local_zone()
    try:
        times = Cron(cron, timezone=zone)
        [first] = asyncio.run(CronSchedule(cron=cron, timezone=zone).get_dates(1))
    except ValueError as error:  # also raised for a date that never comes
        raise _no_cron(cron) from error
    if len(cron.split()) != CRON_FIELDS:  # Prefect reads a sixth field as seconds
        raise _no_cron(cron)
    # Prefect causes this warning at a SIGTERM, and stops properly all the same.
    warnings.filterwarnings("ignore", "coroutine 'Runner.astop' was never awaited", RuntimeWarning)
    settings = tracking.model_copy(update={"offline_if_unreachable": True})
    try:
        settings.check()
    except UnreachableError as error:
        log.warning("%s; runs train offline until it answers, and a later run sends them", error)
    for field, source in _files(config):
        if is_missing(source):
            log.warning("%s: %s does not exist; each run fails until it does", field, source)
    with _alone(config.name), _own_temporary_files(), running_prefect(settings) as server:
        from flows.missed_runs import delete_runs_of_other_configs
        from flows.pretraining import pretrain

        parameters = {"config": config.model_dump(mode="json"), "tracking": settings.model_dump(mode="json")}
        delete_runs_of_other_configs(f"{pretrain.name}/{config.name}", parameters)
        log.warning(
            "%s runs at %r (%s), next at %s, until Ctrl-C; Prefect shows it at %s/deployments",
            config.name,
            cron,
            zone,
            f"{first:%Y-%m-%d %H:%M}",
            server.url,
        )
        pretrain.serve(
            name=config.name,
            schedule=times,
            parameters=parameters,
            entrypoint_type=EntrypointType.MODULE_PATH,
            print_starting_message=False,
            # True would delete the runs that are due; the next schedule of this name backfills the newest of them.
            pause_on_shutdown=False,
            limit=1,
        )


def _files(config: RunConfig) -> Iterator[tuple[str, str]]:
    """Fields and values of the sources that every run reads again; a value may also be a word or an address.

    A pinned text is left out, because the cache may have it.
    """
    if config.corpus.sha256 is None and config.corpus.source != PYTHON_TOPICS:
        yield "corpus.source", config.corpus.source
    if config.held_out.source:
        yield "held_out.source", config.held_out.source


def _local_zone() -> str:
    """The name of the local time zone, which Prefect requires: from TZ if it is set, else from the system.

    Raises InputError if that zone has no known name.
    """
    if named := os.environ.get("TZ", "").removeprefix(":"):
        known = zoneinfo.available_timezones()
        folders = Path(named).resolve().parts[1:] if named.startswith("/") else ()
        names = [named, *("/".join(folders[start:]) for start in range(len(folders)))]
        if found := next((name for name in names if name in known), None):
            return found
        raise InputError(
            f"TZ is {named!r}, which is not the name of a known time zone; set it to one, such as TZ=Europe/Berlin (a "
            "rule such as EST5EDT,M3.2.0,M11.1.0 has no name)"
        )
    with suppress(LookupError, ValueError):
        if name := tzlocal.get_localzone_name():
            return str(name)
    raise InputError("the system's time zone has no known name; set TZ to one, such as TZ=Europe/Berlin")


def _no_cron(cron: str) -> InputError:
    return InputError(
        f"--cron {cron!r} is not a cron expression, or matches no day; give five fields such as '0 3 * * *'"
    )


@contextmanager
def _own_temporary_files() -> Iterator[None]:
    """Use a folder for temporary files that is deleted at the end, because Prefect's runner leaves some files there."""
    with TemporaryDirectory() as folder:
        before, tempfile.tempdir = tempfile.tempdir, folder
        try:
            yield
        finally:
            tempfile.tempdir = before


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """Refuse a second schedule of the same name, because Prefect would let it replace the first."""
    lock = FileLock(prefect_folder() / f"schedule-{name}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise InputError(
            f"another `minigpt schedule` of this home already runs {name!r}; end it, or set another --set name=NAME"
        ) from error
    try:
        yield
    finally:
        lock.release()
