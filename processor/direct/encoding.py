"""Encodes a frame as a record of the frames topic, and decodes such a record as a message of a channel's history."""

import orjson

from processor.core.framer import Frame


def frame_value(frame: Frame, now_ms: int) -> bytes:
    """Returns the record's value. `ts` is the producer's time of the oldest token inside, else `now_ms`."""
    data = orjson.Fragment(frame.data) if frame.json and frame.data is not None else frame.data
    return orjson.dumps(
        {
            "channel": frame.channel,
            "name": frame.name,
            "id": frame.id,
            "data": data,
            "headers": frame.headers,
            "ts": frame.oldest_ts or now_ms,
        }
    )
