"""The step `corpus download`: fetch a text from its source, check it, and store it in the cache."""

import logging
import shutil
import time
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun

from minigpt.data.config import CorpusConfig
from minigpt.data.files import log_files
from minigpt.data.sources import Corpus, check_text, is_fetched, oddities, read_source
from minigpt.errors import InputError
from minigpt.io.download import DownloadError, public_address
from minigpt.io.store import CacheEntry, find_entry, get_or_make, link_or_copy, sha256_of_file
from tasks.home.credentials import reveal
from tasks.home.folders import ARRIVING, arriving, cache_folder
from tasks.runs.files import CORPUS_FILE

log = logging.getLogger(__name__)

# No fetch takes a day, so an older folder was left by a process that was killed.
ABANDONED_SECONDS = 86_400


async def worth_a_retry(_task: Any, _run: TaskRun, state: State[Any]) -> bool:
    """True if the task failed with a transient network error; a retry cannot correct a wrong digest."""
    error = await state.aresult(raise_on_failure=False)
    passing = isinstance(error, DownloadError) and error.transient
    if passing:
        log.warning("retrying the corpus download: %s", error)
    return passing


@task(
    name="corpus download",
    cache_policy=NO_CACHE,
    retries=3,
    retry_delay_seconds=[1, 4, 16],
    retry_condition_fn=worth_a_retry,
)
def download_corpus(config: CorpusConfig) -> Corpus:
    """Fetch the text into the cache, unless the cache holds the text with the pinned digest."""
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    # Runs that need the same text at once fetch it once. Only a pinned digest identifies a text before the fetch.
    with FileLock(cache / f".corpus.{config.sha256}.lock") if config.sha256 else nullcontext():
        if config.sha256 and (entry := find_entry(cache, "corpus", {"corpus": config.sha256})):
            log.info("corpus %s: reused from the cache", config.sha256[:12])
            _warn_if_changed(config)
            return _corpus(entry, config)
        return _fetch_text(config)


def check_given_corpus(config: CorpusConfig) -> None:
    """Raise InputError if a source on this machine does not hold the pinned text, even if the cache does.

    A remote address may be a mirror of the same text, so it is fetched only if the cache does not have the text.
    """
    if config.sha256 and is_fetched(config.source):
        log.warning(
            "corpus.sha256 pins the text, so %s is fetched only if the cache does not have that text; "
            "corpus.sha256=null fetches the current text",
            public_address(config.source),
        )
    elif config.sha256:
        with arriving() as folder:
            read_source(config, folder / CORPUS_FILE)


def _warn_if_changed(config: CorpusConfig) -> None:
    """Log a warning if the source is a file that does not hold the pinned text."""
    with suppress(OSError, ValueError, RuntimeError):  # the file may be gone: the cached text is enough
        path = Path(config.source).expanduser()
        if path.is_file() and sha256_of_file(path) != config.sha256:
            log.warning(
                "the corpus %s does not hold the text that corpus.sha256 pins (a rerun pins the text of its run); the "
                "pinned text is taken from the cache; corpus.sha256=null reads the file instead",
                path,
            )


def _fetch_text(config: CorpusConfig) -> Corpus:
    """Fetch and check the text, and store it in the cache."""
    for left in cache_folder().glob(f"{ARRIVING}*/"):
        with suppress(FileNotFoundError):  # another run has just removed its folder
            if time.time() - left.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
    with arriving() as folder:
        arrived = folder / CORPUS_FILE
        read = read_source(config.model_copy(update={"source": reveal(config.source)}), arrived)
        source = public_address(config.source)
        with arrived.open("rb") as text:
            check_text(text, source, read.files)
            for oddity in oddities(text, read.files):
                log.warning("the corpus %s %s, which the model will learn as text", source, oddity)
        entry = store_corpus(arrived, read.sha256)
    log.info("corpus %s: %s bytes, %s", read.sha256[:12], f"{entry.facts['size_bytes']:,}", _reused(entry))
    log_files(source, read.files)
    return replace(_corpus(entry, config), files=read.files)


def store_corpus(text: Path, sha256: str) -> CacheEntry:
    """Store a text in the cache under its digest; raise InputError if the text has another digest."""

    def fill(place: Path) -> dict[str, Any]:
        link_or_copy(text, place / CORPUS_FILE)
        if (found := sha256_of_file(place / CORPUS_FILE)) != sha256:
            raise InputError(f"the corpus {text} has sha256 {found}, but {sha256} is expected")
        return {"size_bytes": text.stat().st_size}

    return get_or_make(cache_folder(), "corpus", {"corpus": sha256}, fill)


def restore_corpus(kept: Path, sha256: str) -> None:
    """Store a run's copy of its text in the cache; log a warning and leave it out if the copy was changed."""
    try:
        store_corpus(kept, sha256)
    except InputError as error:
        log.warning("%s; the text is fetched from its source again", error)


def _corpus(entry: CacheEntry, config: CorpusConfig) -> Corpus:
    path = entry.folder / CORPUS_FILE
    return Corpus(path, entry.facts["made_from"]["corpus"], path.stat().st_size, public_address(config.source))


def _reused(entry: CacheEntry) -> str:
    return "reused from the cache" if entry.reused else "new in the cache"
