"""Find files that cannot be SQLite databases by their header, because MLflow retries for minutes to open them."""

from pathlib import Path

MAGIC, HEADER_BYTES = b"SQLite format 3\0", 100


def database_problem(path: Path) -> str | None:
    """Why the file cannot be opened, such as "is a folder"; None if it can be opened or does not exist yet."""
    if not path.exists():
        return None
    if not path.is_file():
        return "is a folder" if path.is_dir() else "is not a file"
    try:
        with path.open("rb") as file:
            header = file.read(HEADER_BYTES)
        size = path.stat().st_size
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if not header:
        return None  # SQLite takes an empty file for a new database
    if not header.startswith(MAGIC):
        return "is not an SQLite database"
    if len(header) < HEADER_BYTES:
        return f"is cut short after {size} bytes"
    return _what_is_cut(path, header, size)


def _what_is_cut(path: Path, header: bytes, size: int) -> str | None:
    """Compare the size with the page count in the header, unless a process is writing the database.

    The header is described in https://sqlite.org/fileformat.html, section 1.3.
    """
    page_bytes, pages = int.from_bytes(header[16:18], "big"), int.from_bytes(header[28:32], "big")
    page_bytes = 65_536 if page_bytes == 1 else page_bytes
    counted = header[24:28] == header[92:96]
    writing = any(path.with_name(path.name + suffix).exists() for suffix in ("-journal", "-wal"))
    if counted and not writing and size < page_bytes * pages:
        return f"is cut short: it has {size:,} of its {page_bytes * pages:,} bytes"
    return None
