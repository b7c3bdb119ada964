"""What a subscriber of a gateway kept is read afterwards, however it was cut into pieces."""

import pytest

from devtools.bench.subscribe import SubscriberFailed
from devtools.bench.subscribe_stream import StreamSubscriber
from processor.gateway.events import KEEP_ALIVE, event, event_line

HEADERS = {"responseId": "r", "seq": "1", "seqEnd": "1", "offset": "0"}
TOKEN = event("token", "p1.0-1", event_line("c", "token", "r/token/1-1/0", "text: with\n\nbreaks", HEADERS))
READY = event("ready", "p1.0-1", event_line("c", "ready", None, None))
WRITTEN = b": tokenstream\n\nretry: 1000\n\n" + READY + KEEP_ALIVE + TOKEN + b"id: p1.0-2\n\n"


def received(written: bytes, size: int) -> StreamSubscriber:
    subscriber = StreamSubscriber("gateway", ["c"])
    pieces = [written[at : at + size] for at in range(0, len(written), size)]
    subscriber.kept = [(float(number), piece) for number, piece in enumerate(pieces)]
    return subscriber


@pytest.mark.parametrize("size", [1, 2, 7, 100, 10_000])
def test_frames_have_the_moment_of_their_last_byte(size: int) -> None:
    ((moment, message),) = received(WRITTEN, size).messages()
    assert (message.name, message.data, message.headers) == ("token", "text: with\n\nbreaks", HEADERS)
    assert moment == (WRITTEN.index(TOKEN) + len(TOKEN) - 1) // size


def test_frames_that_were_skipped_for_it_are_no_figures() -> None:
    reset = event("reset", "s1.0-1", event_line(None, "reset", None, None))
    with pytest.raises(SubscriberFailed):
        list(received(reset + TOKEN, 10).messages())
