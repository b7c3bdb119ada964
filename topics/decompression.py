"""Decompresses up to a bound, for every codec of Kafka. Brokers check only the compressed size."""

import struct
import zlib
from collections.abc import Callable
from enum import IntEnum
from typing import Final

import cramjam

from topics.errors import TokenstreamError

LEAST_ROOM: Final = 64 * 1024
FIRST_RATIO: Final = 8
GROWTH: Final = 4
XERIAL_MAGIC: Final = b"\x82SNAPPY\x00"
XERIAL_HEADER: Final = 16
GZIP: Final = 16 + zlib.MAX_WBITS
FIRST_PIECE: Final = 1024
MOST_MEMBERS: Final = 10_000
"""Of gzip data. Producers write one; each costs some microseconds, though it may hold nothing."""


class Codec(IntEnum):
    NONE = 0
    GZIP = 1
    SNAPPY = 2
    LZ4 = 3
    ZSTD = 4


class Undecodable(TokenstreamError):
    """The bytes are not what the codec makes."""


class TooLarge(TokenstreamError):
    """The data decompresses to more than the bound."""


def decompress(codec: int, data: bytes, limit: int) -> bytes | memoryview:
    """Returns the decompressed data, of at most `limit` bytes. Takes memory for about `limit` bytes at most.

    Raises TooLarge where there is more, Undecodable where the data is wrong or the codec unknown.
    """
    try:
        match codec:
            case Codec.NONE:
                return data
            case Codec.GZIP:
                return _gzip(data, limit)
            case Codec.SNAPPY:
                return _snappy(data, limit)
            case Codec.LZ4:
                return _into_buffer(cramjam.lz4.decompress_into, data, limit)
            case Codec.ZSTD:
                return _into_buffer(cramjam.zstd.decompress_into, data, limit)
    except (zlib.error, cramjam.DecompressionError, struct.error, EOFError, ValueError) as error:
        raise Undecodable(f"{Codec(codec).name.lower()}: {error}") from error
    raise Undecodable(f"codec {codec} is not known")


def _gzip(data: bytes, limit: int) -> bytes:
    """One member or several."""
    view, chunks = memoryview(data), [b""]
    size = position = members = 0
    while position < len(view):
        members += 1
        if members > MOST_MEMBERS:
            raise ValueError(f"more than {MOST_MEMBERS} members")
        member, length = zlib.decompressobj(GZIP), FIRST_PIECE
        while not member.eof:
            # What follows a member is copied where it ends: pieces keep that small.
            piece = view[position : position + length]
            if not piece:
                raise EOFError("the data ends before its end marker")
            chunks.append(member.decompress(piece, limit + 1 - size))
            size += len(chunks[-1])
            if size > limit:
                raise TooLarge
            position += len(piece) - len(member.unused_data)
            length *= GROWTH
    return b"".join(chunks)


def _snappy(data: bytes, limit: int) -> bytes:
    if not data.startswith(XERIAL_MAGIC):
        return _snappy_block(data, limit)
    chunks: list[bytes] = []
    size, position = 0, XERIAL_HEADER
    while position < len(data):
        (length,) = struct.unpack_from(">i", data, position)
        position += 4
        if length <= 0 or position + length > len(data):
            raise ValueError(f"a block of {length} bytes at {position} of {len(data)}")
        chunk = _snappy_block(data[position : position + length], limit - size)
        chunks.append(chunk)
        size += len(chunk)
        position += length
    return b"".join(chunks)


def _snappy_block(data: bytes, limit: int) -> bytes:
    """A block declares its size, and holds no more than that."""
    if cramjam.snappy.decompress_raw_len(data) > limit:
        raise TooLarge
    return bytes(cramjam.snappy.decompress_raw(data))


Into = Callable[[bytes, bytearray], int]


def _into_buffer(decompress_into: Into, data: bytes, limit: int) -> memoryview:
    """Tries larger and larger buffers: the codec stops where one is full."""
    room = min(limit, max(LEAST_ROOM, FIRST_RATIO * len(data)))
    while True:
        buffer = bytearray(room)
        try:
            return memoryview(buffer)[: decompress_into(data, buffer)]
        except cramjam.DecompressionError:
            if room >= limit:
                if _fills(decompress_into, data, limit):
                    raise TooLarge from None
                raise
        room = min(limit, GROWTH * room)


def _fills(decompress_into: Into, data: bytes, limit: int) -> bool:
    """Whether the data fills a whole buffer of `limit` bytes before it fails: its last byte is then the same, whatever it was."""
    last: set[int] = set()
    for filler in (0x00, 0xFF):
        buffer = bytearray(limit)
        buffer[-1:] = bytes([filler])
        try:
            decompress_into(data, buffer)
        except cramjam.DecompressionError:
            last.add(buffer[-1])
    return len(last) == 1
