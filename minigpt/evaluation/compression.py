"""Compression by xz, the baseline that a language model has to beat."""

import lzma


def xz_bits_per_byte(text: bytes, read: bytes = b"") -> float:
    """Bits that `xz -9e` needs per byte of `text` (not empty), if it has compressed `read` before."""

    def compressed_bytes(data: bytes) -> int:
        return len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME))

    before = compressed_bytes(read) if read else 0
    return 8 * (compressed_bytes(read + text) - before) / len(text)
