"""Names in stored records stay the same, so that every version can restore what another one wrote."""

from processor.core.durable import record_of
from processor.core.response import Response
from topics.records import ResponseRecord, Status


def test_a_response_without_numbers_is_stored_as_seqless() -> None:
    stored = ResponseRecord(
        response_id="r",
        channel="chat",
        status=Status.STREAMING,
        seq=3,
        started_at=0,
        updated_at=0,
        relay={"offset": 7, "seqless": True},
    )
    response = Response("r", 0.0)
    response.restore(stored, 1)
    assert response.unnumbered
    assert record_of(response, 0).relay["seqless"] is True
