"""Builds the frames of a response: names, ids, headers, data, and the amount of text in each.

A frame covers one contiguous range of one part.
Its id is `<responseId>/<name>/<seq>-<seqEnd>/<offset>`: a repeated frame has the same id, and any other frame another
id.
"""

from typing import assert_never

import msgspec
import orjson

from processor.core.limits import FRAME_OVERHEAD, MIN_FRAME_TEXT, STOP_ROOM
from processor.core.response import Gap, Item, PartText, Response, Run, Start, Stop, Token
from processor.core.text import cut, json_length, utf16_length
from topics.records import STATUS_BY_REASON, TEXT_PART, JsonObject

TRACE = ("traceparent", "tracestate")


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """One message for a channel. `data` is text, or encoded JSON if `json` is set; header values are strings.

    `tokens` counts the records inside. `oldest_ts` is the producer's time of the oldest one (milliseconds since the
    epoch), and `oldest_offset` is its offset.
    `first_token_of` is when the response's start was consumed (monotonic seconds), on the frame with its first token.
    `acked_before` is when the response's previous frame was acknowledged (monotonic seconds).
    `urgent` frames need not wait for the rate limiter.
    """

    channel: str
    response_id: str
    name: str
    id: str
    data: str | None
    json: bool
    headers: dict[str, str]
    tokens: int = 0
    oldest_ts: int | None = None
    first_token_of: float | None = None
    urgent: bool = False
    oldest_offset: int | None = None
    acked_before: float | None = None
    trace: tuple[tuple[str, str], ...] = ()
    """W3C trace headers of the start's record."""


class Built(msgspec.Struct):
    """A frame and the items it was made of. `piece` is the part of an oversize token that the frame carries, else None."""

    frame: Frame
    response: Response
    items: tuple[Item, ...]
    piece: str | None = None
    announces: PartText | None = None
    """The part whose first frame this is."""


def build(response: Response, frame_bytes: int) -> Built:
    """Builds the next frame of a response whose first waiting item may be sent, and removes its items from the queue.

    `frame_bytes` is the largest message that the service accepts.
    """
    head = response.queue[0]
    if isinstance(head, Run | Token):
        return _text(response, head, frame_bytes)
    response.take_first()
    match head:
        case Start():
            return _control(response, head, "start", 0, 0, response.metadata)
        case Gap():
            return _control(response, head, "gap", head.first, head.last, {"from": head.first, "to": head.last})
        case Stop():
            return _control(response, head, "stop", head.seq, head.seq, stop_data(response, head))
        case _:
            assert_never(head)


def put_back(built: Built) -> None:
    """Reverts `build`, after the frame was refused as too large. None of it was delivered."""
    if built.piece is None:
        built.response.put_back(built.items)
    if built.announces is not None:
        built.announces.take_back_frame()


def shrink(built: Built) -> bool:
    """Reduces the text of a frame to the next lower power of two. Returns False if it cannot be reduced further.

    The cuts of a token depend only on refusals of its own frames and on fixed steps, so a successor makes the same
    cuts.
    """
    if built.frame.json or built.frame.data is None:
        return False
    smaller = 1 << ((json_length(built.frame.data) - 1).bit_length() - 1)
    only = built.items[0]
    if len(built.items) == 1 and type(only) is Run and only.count == 1:
        only = only.only_token()
        built.items = (only,)
    if len(built.items) == 1 and type(only) is Token:
        only.budget = smaller
    else:
        built.response.limit_frame_text(smaller)
    return smaller >= MIN_FRAME_TEXT


def stop_data(response: Response, stop: Stop) -> JsonObject:
    error = response.error
    if stop.raw is None and error is None and stop.reason not in STATUS_BY_REASON:
        error = {"code": stop.reason}
    usage = response.usage
    if _encoded(usage) + _encoded(error) > STOP_ROOM:
        # With many long part names it would not fit into a frame; the record keeps all of it.
        usage, error = (
            None,
            {"code": str((error or {}).get("code", "")), "message": "too long: see the record"} if error else None,
        )
    return {
        "reason": stop.reason,
        "status": stop.status,
        "usage": usage,
        "error": error,
        "parts": [{"part": part.name, "length": part.length, "sha256": part.sha256()} for part in response.parts],
    }


def _encoded(value: JsonObject | None) -> int:
    return 0 if value is None else json_length(orjson.dumps(value).decode())


def text_budget(response: Response, part: PartText, info: str | None, frame_bytes: int) -> int:
    """Returns how many encoded bytes of text one frame may carry. The result is the same for the same response, part
    and `partInfo`.
    """
    names = 3 * json_length(response.id) + 2 * (json_length(part.name) + json_length(part.kind))
    return frame_bytes - FRAME_OVERHEAD - names - (json_length(info) if info else 0)


def _control(response: Response, item: Item, name: str, seq: int, seq_end: int, content: JsonObject | None) -> Built:
    headers = {"responseId": response.id, "seq": str(seq)}
    if name == "gap":
        headers["seqEnd"] = str(seq_end)
    frame = Frame(
        channel=response.channel,
        response_id=response.id,
        name=name,
        id=f"{response.id}/{name}/{seq}-{seq_end}/0",
        data=None if content is None else orjson.dumps(content).decode(),
        json=content is not None,
        headers=headers,
        urgent=name == "start",
        acked_before=response.acked_at,
        trace=_trace(item),
    )
    return Built(frame, response, (item,))


def _trace(item: Item) -> tuple[tuple[str, str], ...]:
    raw = item.raw if type(item) is Start else None
    if raw is None or not raw.headers:
        return ()
    return tuple((name, (value or b"").decode("ascii", "replace")) for name, value in raw.headers if name in TRACE)


def _text(response: Response, head: Run | Token, frame_bytes: int) -> Built:
    part = head.part
    first = not part.framed
    info = orjson.dumps(part.info).decode() if first and part.info is not None else None
    budget = text_budget(response, part, info, frame_bytes)
    announces = part if first else None
    if first:
        part.note_framed()
    if type(head) is Token:
        own = head.budget or budget
        if head.sent or (len(head.text) * 6 > own and json_length(head.text) > own):
            piece = cut(head.text[head.sent :], own)
            frame = _text_frame(response, head, head, piece, part.length + head.sent_length, info, 0)
            return Built(frame, response, (head,), piece, announces)
    items, text = _roll_up(response, part, min(budget, response.frame_text or budget))
    count = sum([item.count for item in items])
    frame = _text_frame(response, items[0], items[-1], text, part.length, info, count)
    return Built(frame, response, tuple(items), None, announces)


def _roll_up(response: Response, part: PartText, budget: int) -> tuple[list[Run | Token], str]:
    """Removes the longest run of waiting tokens of one part that fits into a frame, and at least one token."""
    queue, unpaired, undetermined = response.queue, response.unpaired, response.undetermined
    items: list[Run | Token] = []
    texts: list[str] = []
    bound = 0  # of the texts' bytes in JSON: no character takes more than six
    while queue:
        item = queue[0]
        if not isinstance(item, Run | Token) or item.part is not part or item is unpaired or item is undetermined:
            break
        text = item.text
        bound += len(text) * 6
        if bound > budget:
            before = json_length("".join(texts))
            bound = before + json_length(text)
            if bound > budget:
                if (first := _first_fitting(item, budget - before, one_at_least=not items)) is not None:
                    items.append(first)
                    texts.append(first.text)
                    if first is item:
                        response.take_first()
                break
        response.take_first()
        items.append(item)
        texts.append(text)
    return items, "".join(texts)


def _first_fitting(item: Run | Token, room: int, *, one_at_least: bool) -> Run | Token | None:
    """Splits off the beginning of an item that is too long for a frame. Returns the item itself if it is one token."""
    count = 0
    if type(item) is Run:
        for text in item.texts:
            room -= json_length(text)
            if room < 0:
                break
            count += 1
    if one_at_least:
        count = max(count, 1)
    if type(item) is Run and 0 < count < item.count:
        return item.split_off(count)
    return item if count else None


def _text_frame(
    response: Response, first: Run | Token, last: Run | Token, text: str, offset: int, info: str | None, count: int
) -> Frame:
    part = first.part
    name = "token" if part.name == TEXT_PART else "part"
    headers = {
        "responseId": response.id,
        "seq": str(first.seq),
        "seqEnd": str(last.seq_end),
        "offset": str(offset),
    }
    if name == "part":
        headers["part"] = part.name
        headers["kind"] = part.kind
        if info is not None:
            headers["partInfo"] = info
    opening = response.tokens == 0 and not (type(first) is Token and first.sent)
    return Frame(
        channel=response.channel,
        response_id=response.id,
        name=name,
        id=f"{response.id}/{name}/{first.seq}-{last.seq_end}/{offset}",
        data=text,
        json=False,
        headers=headers,
        tokens=count,
        oldest_ts=first.ts,
        first_token_of=response.start_consumed if opening else None,
        urgent=opening,
        oldest_offset=first.raw.offset,
        acked_before=response.acked_at,
    )


def piece_acknowledged(token: Token, piece: str) -> bool:
    """Notes an acknowledged piece of an oversize token. Returns True for the last piece."""
    token.sent += len(piece)
    token.sent_length += utf16_length(piece)
    return token.sent >= len(token.text)
