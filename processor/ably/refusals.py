"""The meaning of each refusal by the realtime service.

Source: Ably's error codes. A code that is not listed is retried, so that nothing is lost; the metrics show it by
code. For an unlisted refusal of the message itself, the relay decides when it counts as permanent
(`processor.relay.persistent_refusal`).
"""

from typing import Final

from processor.errors import PublishRefused, PublishRetry, RefusalKind

_KINDS: Final[dict[int, RefusalKind]] = {
    42911: RefusalKind.SLOW_LINK,
    42921: RefusalKind.SLOW_LINK,
    42924: RefusalKind.SLOW_LINK,
    42913: RefusalKind.SLOW_CHANNEL,
    42914: RefusalKind.SLOW_CHANNEL,
    40001: RefusalKind.PASSING,  # the SDK's own, of a connection that has just ended
    40009: RefusalKind.TOO_LARGE,
    40010: RefusalKind.CHANNEL,
    40012: RefusalKind.CHANNEL,
    40013: RefusalKind.CHANNEL,
    40160: RefusalKind.CHANNEL,
    40161: RefusalKind.CHANNEL,
    40400: RefusalKind.CHANNEL,
    40401: RefusalKind.CHANNEL,
    93002: RefusalKind.CHANNEL,
}
COUNTED: Final = frozenset(
    {
        *(40009, 40012, 40031, 40034),  # the message, or its ids, refused
        *(40101, 40111, 40112, 40114, 40115, 40142, 40160, 40171),  # credentials, capability, quotas
        *(42910, 42911, 42912, 42913, 42914, 42917, 42918),  # rates: account, connection, channel
        *(42920, 42921, 42922, 42924),  # rates broken badly enough to end the connection
        *(50000, 50003),  # the service's own failures
        *(80000, 80002, 80003, 80008, 80014, 80017, 80019),  # the connection
        *(90000, 90001, 90003, 90007, 90010, 93002),  # the channel
    }
)
"""Codes that the metrics count separately."""

Refusal = PublishRetry | PublishRefused


def kind_of(code: int, status: int) -> RefusalKind:
    """`code` is Ably's error code, `status` its HTTP status; the SDK gives them swapped for some local failures."""
    if code in _KINDS:
        return _KINDS[code]
    if 42900 <= code < 43000 or status == 429:
        return RefusalKind.SLOW_ALL
    if 40100 <= code < 40200 or 40300 <= code < 40400:
        return RefusalKind.CREDENTIALS
    if 40400 <= code < 40500 or 40002 <= code <= 40099:
        return RefusalKind.CHANNEL
    if 40000 <= code < 50000:
        return RefusalKind.UNEXPLAINED
    return RefusalKind.PASSING


def refusal(code: int, status: int, message: str) -> Refusal:
    """Returns the error for a publish that the service answered with this one."""
    kind = kind_of(code, status)
    if kind in {RefusalKind.TOO_LARGE, RefusalKind.CHANNEL}:
        return PublishRefused(message, kind=kind, code=code)
    return PublishRetry(message, kind=kind, code=code)
