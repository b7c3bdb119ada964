"""Records of one batch: regular ones unchanged, irregular ones as themselves or as a fault, never as an exception."""

import pytest

from devtools.raw_batches import CODECS, around, batch, sealed
from processor.kafka.record_batches.batches import BatchedRecord, Corrupt, Fault, RecordBatch, Unreadable, frames

MIB = 1 << 20
ENTRIES = [(b"k", b"v%d" % number, [("hhhhhhhh", b"x")]) for number in range(4)]
codecs = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)


def offsets(data: bytes, start: int = 0) -> list[int]:
    return [record.offset for record in RecordBatch(data).records(start, MIB)]


@codecs
def test_records_are_read_from_the_offset_asked_for(codec: int) -> None:
    data = batch(ENTRIES, codec=codec, base=10)
    assert offsets(data) == [10, 11, 12, 13]
    assert offsets(data, 12) == [12, 13]


def test_a_name_that_is_not_utf8_is_escaped_and_counted() -> None:
    first, *others = RecordBatch(sealed(batch(ENTRIES).replace(b"hhhhhhhh", b"\xff\xfehhhhhh", 1))).records(0, MIB)
    assert first == BatchedRecord(0, 7, b"k", b"v0", (("\\xff\\xfehhhhhh", b"x"),), 0, renamed=1)
    assert [(record.offset, record.headers) for record in others] == [(n, (("hhhhhhhh", b"x"),)) for n in (1, 2, 3)]


def test_a_record_whose_inside_makes_no_sense_costs_itself_alone() -> None:
    data = batch(ENTRIES)
    at = data.index(b"\x10hhhhhhhh")
    spoilt = sealed(data[:at] + b"\x7e" + data[at + 1 :])  # the name's length is beyond the record
    first, *others = RecordBatch(spoilt).records(0, MIB)
    assert isinstance(first, Unreadable)
    assert (first.offset, first.last, first.fault, b"v0" in (first.value or b"")) == (0, 0, Fault.INVALID, True)
    assert [record.value for record in others] == [b"v1", b"v2", b"v3"]


def test_what_has_no_end_costs_the_rest_of_the_batch() -> None:
    (rest,) = RecordBatch(around(b"\xff" * 30, count=3)).records(0, MIB)
    assert (rest.offset, rest.last, rest.fault) == (0, 2, Fault.INVALID)


@codecs
def test_a_batch_beyond_the_bound_is_one_fault(codec: int) -> None:
    data = batch([(b"k", bytes(2 * MIB), ()), (b"k", b"v", ())], codec=codec, base=5)
    found = list(RecordBatch(data).records(0, MIB))
    if codec == CODECS["none"]:
        assert [record.offset for record in found] == [5, 6]  # it is in memory already
    else:
        assert [(each.offset, each.last, each.fault) for each in found] == [(5, 6, Fault.TOO_LARGE)]


def test_a_wrong_checksum_is_corrupt() -> None:
    data = batch(ENTRIES)
    with pytest.raises(Corrupt, match="checksum"):
        RecordBatch(data[:-1] + bytes([data[-1] ^ 1]))


@pytest.mark.parametrize("data", [b"x", bytes(8) + b"\xff" * 4 + bytes(90), bytes(8) + b"\x7f" * 4 + bytes(90)])
def test_frames_without_sense_are_corrupt(data: bytes) -> None:
    with pytest.raises(Corrupt):
        list(frames(data))


def test_a_last_batch_that_is_cut_off_is_left_out() -> None:
    whole = batch(ENTRIES)
    assert list(frames(whole + whole[:-1])) == [whole]
