"""Messages over a connected transport of the SDK, and the answers to them, without a task of the SDK for either.

The SDK (3.1.4) runs a task for each message that it receives and replaces a timer, which is another task, and it waits for the socket
with each message that it sends: together more than half of what a message costs. Here a message is written to the SDK's socket when it is
sent, and an answer is taken from the frame it arrives in. Every other message goes to the SDK.
"""

import asyncio
from typing import Any, Final, cast

import msgspec
from ably.transport.websockettransport import ProtocolMessageAction
from ably.types.connectionstate import ConnectionState
from ably.util.exceptions import AblyException
from ably.util.helper import unix_time_ms

from processor.ably.gathering import gather_writes

BINARY: Final = 2
"""The opcode of a websocket's binary frame."""
ANSWERS: Final = frozenset({int(ProtocolMessageAction.ACK), int(ProtocolMessageAction.NACK)})
TIMER_SLACK: Final = 100
"""Milliseconds, as in the SDK."""

Answer = asyncio.Future[None]


UNKNOWN_OUTCOME: Final = (500, 50001)
"""Status and code of an answer that leaves open whether the message was accepted; it is sent again with the same id."""


class Received(msgspec.Struct, rename="camel"):
    """The fields that are read of a message of the service. Depending on `action`, it answers `count` messages from number
    `msg_serial` on.
    """

    action: int
    msg_serial: int = 0
    count: int = 1
    error: dict[str, Any] | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Received).decode


class Exchange:
    """Numbers the messages of one connection, as the SDK does, and knows which of them are unanswered."""

    __slots__ = ("_manager", "_put", "_socket", "_transport", "_unanswered")

    def __init__(self, manager: Any, transport: Any) -> None:
        """`transport` is the manager's, and connected."""
        self._manager = manager
        self._transport = transport
        self._socket = transport.websocket
        received = self._socket.recv_messages
        self._put = received.put
        received.put = self._take
        self._unanswered: dict[int, Answer] = {}
        gather_writes(self._socket)

    def send(self, message: dict[str, Any]) -> Answer:
        """Writes the message now. Returns its answer, an AblyException where it is refused. Raises what SDK and socket raise."""
        manager = self._manager
        if manager.state is not ConnectionState.CONNECTED:
            raise AblyException(f"Cannot send message while connection is {manager.state}", 400, 90000)
        number = message["msgSerial"] = manager.msg_serial
        self._socket.protocol.send_binary(_encode(message))
        self._socket.send_data()
        manager.msg_serial = number + 1
        answer: Answer = asyncio.get_running_loop().create_future()
        self._unanswered[number] = answer
        return answer

    def fail(self, error: AblyException) -> None:
        """Answers with the error what is unanswered."""
        unanswered, self._unanswered = self._unanswered, {}
        for answer in unanswered.values():
            set_error(answer, error)

    def _take(self, frame: Any) -> None:
        if not self._answers(frame):
            self._put(frame)

    def _answers(self, frame: Any) -> bool:
        """Whether the frame is an answer, which is taken then: the SDK knows of no message that it could be for."""
        if frame.opcode != BINARY or not frame.fin:
            return False
        try:
            message = _decode(frame.data)
        except (msgspec.DecodeError, ValueError, RecursionError):
            return False  # the SDK logs what can't be read
        if message.action not in ANSWERS:
            return False
        self._answered(message)
        self._transport.on_activity()
        return True

    def _answered(self, message: Received) -> None:
        """Answers the messages that are meant. Earlier ones were skipped: they are sent again with the same ids.

        The SDK takes them for answered alike, accepted or refused. Answers come in the order of the messages.
        """
        first, end, error = message.msg_serial, message.msg_serial + message.count, None
        if message.action == ProtocolMessageAction.NACK:
            error = _refusal(message.error)
        unanswered = self._unanswered
        while unanswered and (number := next(iter(unanswered))) < end:
            answer = unanswered.pop(number)
            if number < first:
                set_error(
                    answer, AblyException("the service passed over this message in its answers", *UNKNOWN_OUTCOME)
                )
            elif error is not None:
                set_error(answer, error)
            elif not answer.done():
                answer.set_result(None)


def _refusal(error: dict[str, Any] | None) -> AblyException:
    try:
        return cast("AblyException", AblyException.from_dict(error))
    except Exception:  # noqa: BLE001 - an error of the service may be anything
        return AblyException("Unable to send message", *UNKNOWN_OUTCOME)


def set_error(answer: Answer, error: Exception) -> None:
    """Ends a wait with an error. It is no error of this process if nobody waits any more."""
    if not answer.done():
        answer.set_exception(error)
        answer.exception()


def keep_one_timer(transport: Any) -> None:
    """Lets the SDK's transport note each activity without replacing its timer: on expiry the timer measures the time that is left."""

    def on_activity() -> None:
        if not transport.max_idle_interval:
            return
        transport.last_activity = unix_time_ms()
        if transport.idle_timer is None:
            transport.set_idle_timer(transport.max_idle_interval + TIMER_SLACK)

    transport.on_activity = on_activity
