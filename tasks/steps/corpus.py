"""The step `corpus download`: from a source to a checked text in the cache."""

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

# No fetch takes a day, so that a folder that is older is of a process that was killed.
ABANDONED_SECONDS = 86_400


async def worth_a_retry(_task: Any, _run: TaskRun, state: State[Any]) -> bool:
    """Only the network's passing faults; a wrong digest stays wrong."""
    error = await state.aresult(raise_on_failure=False)
    passing = isinstance(error, DownloadError) and error.transient
    if passing:
        log.warning("the corpus is asked for once more, for %s", error)
    return passing


@task(
    name="corpus download",
    cache_policy=NO_CACHE,
    retries=3,
    retry_delay_seconds=[1, 4, 16],
    retry_condition_fn=worth_a_retry,
)
def download_corpus(config: CorpusConfig) -> Corpus:
    """Bring the text here; a text with the pinned digest that is in the cache is not fetched again."""
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    # Of several runs that want one text, one fetches it; of which text it will be only a pinned digest tells.
    with FileLock(cache / f".corpus.{config.sha256}.lock") if config.sha256 else nullcontext():
        if config.sha256 and (entry := find_entry(cache, "corpus", {"corpus": config.sha256})):
            log.info("corpus %s: reused from the cache", config.sha256[:12])
            _tell_if_changed(config)
            return _corpus(entry, config)
        return _arrived(config)


def check_given_corpus(config: CorpusConfig) -> None:
    """Refuse a source on this machine that does not hold the pinned text, even where the cache does.

    An address may be another place of the same text; it is asked where the cache does not have it.
    """
    if config.sha256 and is_fetched(config.source):
        log.warning(
            "corpus.sha256 pins the text, so that %s is asked only if no run here had it; corpus.sha256=null takes "
            "what is there",
            public_address(config.source),
        )
    elif config.sha256:
        with arriving() as folder:
            read_source(config, folder / CORPUS_FILE)


def _tell_if_changed(config: CorpusConfig) -> None:
    """A file may have another text by now, or never had the pinned one."""
    with suppress(OSError, ValueError, RuntimeError):  # it need not be there any more
        path = Path(config.source).expanduser()
        if path.is_file() and sha256_of_file(path) != config.sha256:
            log.warning(
                "the corpus %s does not hold the text that corpus.sha256 pins (a rerun pins that of its run), which is "
                "taken from the cache; corpus.sha256=null takes what is there",
                path,
            )


def _arrived(config: CorpusConfig) -> Corpus:
    """The text, fetched, checked, and put into the cache."""
    for left in cache_folder().glob(f"{ARRIVING}*/"):
        with suppress(FileNotFoundError):  # of a run that is done with it
            if time.time() - left.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
    with arriving() as folder:
        arrived = folder / CORPUS_FILE
        read = read_source(config.model_copy(update={"source": reveal(config.source)}), arrived)
        source = public_address(config.source)
        with arrived.open("rb") as text:
            check_text(text, source, read.files)
            for oddity in oddities(text, read.files):
                log.warning("the corpus %s %s, which the model learns as text", source, oddity)
        entry = store_corpus(arrived, read.sha256)
    log.info("corpus %s: %s bytes, %s", read.sha256[:12], f"{entry.facts['size_bytes']:,}", _reused(entry))
    log_files(source, read.files)
    return replace(_corpus(entry, config), files=read.files)


def store_corpus(text: Path, sha256: str) -> CacheEntry:
    """Put a text into the cache, where its digest finds it; another text is refused."""

    def fill(place: Path) -> dict[str, Any]:
        link_or_copy(text, place / CORPUS_FILE)
        if (found := sha256_of_file(place / CORPUS_FILE)) != sha256:
            raise InputError(f"the corpus {text} has sha256 {found}, and not {sha256} as it should")
        return {"size_bytes": text.stat().st_size}

    return get_or_make(cache_folder(), "corpus", {"corpus": sha256}, fill)


def restore_corpus(kept: Path, sha256: str) -> None:
    """Put the text that a run kept where its digest finds it; of one that was changed the source is asked again."""
    try:
        store_corpus(kept, sha256)
    except InputError as error:
        log.warning("%s; the text is fetched anew from its source", error)


def _corpus(entry: CacheEntry, config: CorpusConfig) -> Corpus:
    path = entry.folder / CORPUS_FILE
    return Corpus(path, entry.facts["made_from"]["corpus"], path.stat().st_size, public_address(config.source))


def _reused(entry: CacheEntry) -> str:
    return "reused from the cache" if entry.reused else "new in the cache"
