"""Decompression stops at its bound, for every codec, and reports why it stopped."""

import gzip
import tracemalloc
from collections.abc import Callable

import cramjam
import pytest
from aiokafka.codec import snappy_encode

from topics.decompression import MOST_MEMBERS, Codec, TooLarge, Undecodable, decompress

MIB = 1 << 20
ENCODERS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "gzip": (Codec.GZIP, gzip.compress),
    "gzip members": (Codec.GZIP, lambda data: gzip.compress(data[:10]) + gzip.compress(data[10:])),
    "snappy": (Codec.SNAPPY, lambda data: bytes(cramjam.snappy.compress_raw(data))),
    "xerial": (Codec.SNAPPY, snappy_encode),
    "lz4": (Codec.LZ4, lambda data: bytes(cramjam.lz4.compress(data))),
    "zstd": (Codec.ZSTD, lambda data: bytes(cramjam.zstd.compress(data))),
}
encoders = pytest.mark.parametrize(("codec", "encode"), ENCODERS.values(), ids=ENCODERS)


@encoders
@pytest.mark.parametrize("size", [0, 1, 100_000, 3 * MIB])
def test_what_fits_comes_back_whole(codec: int, encode: Callable[[bytes], bytes], size: int) -> None:
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    assert bytes(decompress(codec, encode(data), max(1, size))) == data


@encoders
def test_one_byte_more_than_the_bound_is_too_large(codec: int, encode: Callable[[bytes], bytes]) -> None:
    for filler in (b"\x00", b"\xff", b"a"):
        with pytest.raises(TooLarge):
            decompress(codec, encode(filler * (MIB + 1)), MIB)


@encoders
def test_a_bomb_takes_no_more_memory_than_the_bound(codec: int, encode: Callable[[bytes], bytes]) -> None:
    bomb = encode(bytes(64 * MIB))
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            decompress(codec, bomb, MIB)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * MIB


@encoders
def test_damaged_data_is_undecodable(codec: int, encode: Callable[[bytes], bytes]) -> None:
    encoded = encode(bytes(range(256)) * 100)
    for damaged in (encoded[: len(encoded) // 2], b"\x00" + encoded, b"garbage"):
        with pytest.raises(Undecodable):
            decompress(codec, damaged, MIB)


def test_unknown_codecs_are_undecodable() -> None:
    for codec in (5, 6, 7):
        with pytest.raises(Undecodable, match=f"codec {codec}"):
            decompress(codec, b"data", MIB)


def test_gzip_of_many_members_is_read_up_to_a_bound() -> None:
    empty = gzip.compress(b"")
    some = gzip.compress(b"a" * 5_000) + empty * (MOST_MEMBERS - 2) + gzip.compress(b"z")
    assert bytes(decompress(Codec.GZIP, some, MIB)) == b"a" * 5_000 + b"z"
    with pytest.raises(Undecodable, match="members"):
        decompress(Codec.GZIP, empty * 1_000_000, MIB)
