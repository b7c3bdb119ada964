"""Faults that can be switched on: what they are, and when they are injected. Pure; randomness is from each rule's own
seed.

A rule applies to a `share` of its candidates (drawn from `seed`), only on channels that match `channel` (a regular
expression, searched), after skipping the first `skip` of these, every `every`-th of them, and at most `times` times
(1 = once; absent = until cleared).
"""

import random
import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from devtools.emulator import wire
from devtools.emulator.limits import Limits


class Rule(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    share: float = 1.0
    channel: str | None = None
    seed: int = 0
    times: int | None = None
    skip: int = 0
    every: int = 1


class Code(Rule, kw_only=True):
    """A rule that carries an error; `status` and `message` are the code's own unless given."""

    code: int
    status: int | None = None
    message: str | None = None

    def error(self) -> wire.ErrorInfo:
        return wire.error(self.code, self.message, self.status)


class Nack(Code):
    """Publishes are refused, and not accepted."""


class DropAck(Rule):
    """Publishes are accepted and never acknowledged. All later answers on the connection are swallowed too, until it
    resumes, for the protocol knows no gaps; with `skip_only` they are not, which is what the protocol forbids.
    """

    skip_only: bool = False


class DropPublish(Rule):
    """Publishes are neither accepted nor answered; `skip_only` as for drop_ack."""

    skip_only: bool = False


class DelayAck(Rule):
    """Answers wait `ms`. With `channel` this is a slow channel - though answers of a connection stay in order."""

    ms: float


class BatchAck(Rule):
    """Answers wait until there are `count` of them, or `ms` have passed."""

    count: int = 10
    ms: float = 500.0


class DelayConnected(Rule):
    ms: float


class RefuseConnect(Rule):
    """Without `code`: HTTP `status` instead of a socket. With it: ERROR, or DISCONNECTED with `disconnected`."""

    status: int | None = None
    code: int | None = None
    message: str | None = None
    disconnected: bool = False

    def error(self) -> wire.ErrorInfo:
        return wire.error(self.code or 50003, self.message, self.status)


class RefuseResume(Code):
    """Resumes get a new connection instead, with this error; channels lose their continuity."""

    code: int = 80018


class Down(Rule):
    """All sockets are cut and the port stops listening, for `seconds`."""

    seconds: float = 5.0


class History(Rule):
    """History answers `status`, or never (`hang`); or leaves out a share of messages (`missing`), or what was
    published in the last `stale_seconds`.
    """

    status: int | None = None
    code: int | None = None
    hang: bool = False
    missing: float = 0.0
    stale_seconds: float = 0.0


class OddAnswer(Rule, kw_only=True):
    """A batch or a request for a history gets this answer, as from a gateway in front. `accepted`: the batch was, all the same."""

    status: int = 502
    body: str = "<html>Bad gateway</html>"
    content_type: str = "text/html"
    accepted: bool = False


class Latency(Rule):
    """Every frame waits this long, each way."""

    in_ms: float = 0.0
    out_ms: float = 0.0


class RateLimits(Rule):
    """The real service's limits, in messages/s; see Limits."""

    connection: int = 50
    per_channel: int = 50
    outbound: int = 50
    severe: int = 1000
    requests: int = 50


class Injection(Rule):
    """Something done to connections: at once; or, with `publishes`, to a connection at each N-th publish accepted on
    the server - `at` "before" it is accepted, "after" (accepted, the answer lost) or "answered"; or, with `seconds`,
    to all every N seconds. `connection` limits it to one connection id.
    """

    publishes: int | None = None
    seconds: float | None = None
    at: str = "after"
    connection: str | None = None


class Cut(Injection):
    """The socket is aborted without any message."""


class Freeze(Injection):
    """The socket stays open, but nothing passes any more."""


class Disconnected(Injection, kw_only=True):
    """DISCONNECTED, then the socket is closed. `code` null: without any error. `close` false: it stays open."""

    code: int | None = 80003
    status: int | None = None
    message: str | None = None
    close: bool = True

    def error(self) -> wire.ErrorInfo | None:
        return None if self.code is None else wire.error(self.code, self.message, self.status)


class Error(Injection, kw_only=True):
    """A connection ERROR, then the socket is closed and the connection forgotten: clients go to FAILED."""

    code: int = 40101
    status: int | None = None
    message: str | None = None

    def error(self) -> wire.ErrorInfo:
        return wire.error(self.code, self.message, self.status)


class ChannelError(Error):
    """ERROR on every attached channel that matches: it goes to FAILED."""

    code: int = 40160


class Detached(Error):
    """An unasked DETACHED on every attached channel that matches: clients attach again."""

    code: int = 90001


class Discontinuity(Error):
    """A further ATTACHED without RESUMED on every attached channel that matches."""

    code: int = 80020


class Reauth(Injection):
    """AUTH: the client is asked for a new token."""


KINDS: Mapping[str, type[Rule]] = {
    "nack": Nack, "drop_ack": DropAck, "drop_publish": DropPublish, "delay_ack": DelayAck, "batch_ack": BatchAck,
    "delay_connected": DelayConnected, "refuse_connect": RefuseConnect, "refuse_resume": RefuseResume, "down": Down,
    "history": History, "odd_answer": OddAnswer, "latency": Latency, "limits": RateLimits, "cut": Cut, "freeze": Freeze,
    "disconnected": Disconnected, "error": Error, "channel_error": ChannelError, "detached": Detached,
    "discontinuity": Discontinuity, "reauth": Reauth,
}  # fmt: skip


R = TypeVar("R", bound=Rule)


class Armed:
    """A rule with what it has counted. `struck` is how often it struck."""

    __slots__ = ("_pattern", "_random", "met", "next_at", "rule", "struck")

    def __init__(self, rule: Rule, now: float) -> None:
        self.rule = rule
        self.met = 0
        self.struck = 0
        self._random = random.Random(rule.seed)
        self._pattern = re.compile(rule.channel) if rule.channel is not None else None
        seconds = rule.seconds if isinstance(rule, Injection) else None
        self.next_at = now + seconds if seconds is not None else None

    def concerns(self, channel: str | None) -> bool:
        return self._pattern is None or (channel is not None and self._pattern.search(channel) is not None)

    def applies(self, channel: str | None = None) -> bool:
        """Whether this one is struck. Counts it."""
        rule = self.rule
        if not self.concerns(channel) or (rule.times is not None and self.struck >= rule.times):
            return False
        self.met += 1
        turn = self.met - rule.skip
        if turn <= 0 or turn % rule.every != 0 or not self.chance(rule.share):
            return False
        self.struck += 1
        return True

    def chance(self, share: float) -> bool:
        return share >= 1.0 or self._random.random() < share


class Faults:
    """The active rules. `active` is false if there is no rule, so the usual path makes no further checks."""

    def __init__(self) -> None:
        self._armed: list[Armed] = []
        self.active = False
        self.limits: Limits | None = None
        self.latency = Latency()

    def add(self, rule: Rule, now: float) -> Armed:
        armed = Armed(rule, now)
        if isinstance(rule, RateLimits):
            self.limits = Limits(
                connection=rule.connection,
                channel=rule.per_channel,
                outbound=rule.outbound,
                severe=rule.severe,
                requests=rule.requests,
            )
        elif isinstance(rule, Latency):
            self.latency = rule
        self._armed.append(armed)
        self.active = True
        return armed

    def clear(self) -> None:
        self._armed.clear()
        self.active = False
        self.limits = None
        self.latency = Latency()

    def first(self, kind: type[R], channel: str | None = None) -> R | None:
        """The first rule of the kind that applies here and now; counts it."""
        for armed in self._armed:
            if isinstance(armed.rule, kind) and armed.applies(channel):
                return armed.rule
        return None

    def on_publish(self, channel: str, at: str) -> list[Injection]:
        """What this publish injects, at this point of its way."""
        found = []
        for armed in self._armed:
            rule = armed.rule
            if isinstance(rule, Injection) and rule.publishes is not None and rule.at == at and armed.concerns(channel):
                armed.met += 1
                if armed.met % rule.publishes == 0 and (rule.times is None or armed.struck < rule.times):
                    armed.struck += 1
                    found.append(rule)
        return found

    def due(self, now: float) -> list[tuple[Injection, Armed]]:
        """What is to be injected by time, and is due."""
        found = []
        for armed in self._armed:
            rule = armed.rule
            if isinstance(rule, Injection) and rule.seconds is not None and armed.next_at is not None:
                while armed.next_at <= now:
                    armed.next_at += rule.seconds
                    if rule.times is None or armed.struck < rule.times:
                        armed.struck += 1
                        found.append((rule, armed))
        return found

    def next_wake(self) -> float | None:
        return min((armed.next_at for armed in self._armed if armed.next_at is not None), default=None)

    def listed(self) -> list[dict[str, Any]]:
        """Every rule as it was given, and how often it struck."""
        return [
            {name_of(armed.rule): msgspec.to_builtins(armed.rule), "met": armed.met, "struck": armed.struck}
            for armed in self._armed
        ]


def name_of(rule: Rule) -> str:
    return next(name for name, kind in KINDS.items() if type(rule) is kind)


def is_immediate(rule: Rule) -> bool:
    """Whether the rule is done at once and then forgotten."""
    return isinstance(rule, Down) or (isinstance(rule, Injection) and rule.publishes is None and rule.seconds is None)


def parse(spec: object) -> list[Rule]:
    """`{"nack": {"share": 0.3, "code": 42911}, "cut": [{...}, {...}]}` as rules. Raises ValueError."""
    if not isinstance(spec, dict):
        raise ValueError("faults are a JSON object of kind to rule, or to an array of rules")  # noqa: TRY004 - it came as JSON
    rules: list[Rule] = []
    for name, given in spec.items():
        kind = KINDS.get(name)
        if kind is None:
            raise ValueError(f"no fault is called {name!r}; there are {', '.join(KINDS)}")
        for one in given if isinstance(given, list) else [given]:
            try:
                rule = msgspec.convert(one, kind)
                _check(rule)
            except (msgspec.ValidationError, re.error, ValueError) as error:
                raise ValueError(f"{name}: {error}") from error
            rules.append(rule)
    return rules


def _check(rule: Rule) -> None:
    if rule.channel is not None:
        re.compile(rule.channel)
    if rule.every < 1:
        raise ValueError("every must be 1 or more")
    if isinstance(rule, Injection):
        if rule.at not in ("before", "after", "answered"):
            raise ValueError('at must be "before", "after" or "answered"')
        if (rule.publishes is not None and rule.publishes < 1) or (rule.seconds is not None and rule.seconds <= 0):
            raise ValueError("publishes and seconds must be above 0")
