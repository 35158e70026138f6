"""PNG and TIFF files with pixels and tags that Pillow does not write, byte by byte from their specifications."""

import struct
import zlib


def png(depth: int, colour: int, width: int, rows: list[bytes], transparent: bytes) -> bytes:
    """A PNG whose tRNS chunk holds `transparent`; colour is 0 for grey, 2 for RGB."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = ((b"IHDR", header), (b"tRNS", transparent), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in chunks)


def grey_tiff(width: int, pixels: bytes, bits: int, sample: int = 1, white_is_zero: bool = False) -> bytes:
    """A little-endian TIFF of one row; sample is 1 for unsigned, 2 for signed, 3 for floats."""
    tags = {256: width, 257: 1, 258: bits, 259: 1, 262: 0 if white_is_zero else 1, 277: 1, 278: 1, 279: len(pixels)}
    tags |= {273: 8 + 2 + 12 * (len(tags) + 2) + 4, 339: sample}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + struct.pack("<I", 0) + pixels
