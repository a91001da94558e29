"""Whether a file can be an SQLite database, by its first bytes: MLflow asks one that it cannot open for two minutes."""

from pathlib import Path

MAGIC, HEADER_BYTES = b"SQLite format 3\0", 100


def database_problem(path: Path) -> str | None:
    """What keeps the file from being opened, said of it; None where nothing does, or where it is not there yet."""
    if not path.exists():
        return None
    if not path.is_file():
        return "is a folder" if path.is_dir() else "is no file"
    try:
        with path.open("rb") as file:
            header = file.read(HEADER_BYTES)
        size = path.stat().st_size
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if not header:
        return None  # a new one, to SQLite as well
    if not header.startswith(MAGIC):
        return "is no SQLite database"
    if len(header) < HEADER_BYTES:
        return f"is cut short after {size} bytes"
    return _what_is_cut(path, header, size)


def _what_is_cut(path: Path, header: bytes, size: int) -> str | None:
    """Compares the size with the pages that the header counts (sqlite.org/fileformat.html, 1.3), unless one writes."""
    page_bytes, pages = int.from_bytes(header[16:18], "big"), int.from_bytes(header[28:32], "big")
    page_bytes = 65_536 if page_bytes == 1 else page_bytes
    counted = header[24:28] == header[92:96]
    writing = any(path.with_name(path.name + suffix).exists() for suffix in ("-journal", "-wal"))
    if counted and not writing and size < page_bytes * pages:
        return f"is cut short: it has {size:,} of its {page_bytes * pages:,} bytes"
    return None
