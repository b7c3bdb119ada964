"""Computes figures from an observation: latencies, frames, a line over time. Pure."""

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import msgspec

from devtools.bench.load import Load
from devtools.judge.frames import Report

TEXT_FRAMES = ("token", "part")
BINS = 200


class Spread(msgspec.Struct, frozen=True):
    """Of some durations, in seconds."""

    p50: float
    p90: float
    p99: float
    p999: float
    longest: float
    count: int


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Moments are of the monotonic clock. `latency` is from handing a token to Kafka's client until a subscriber had
    it; `first_token` from handing over a response's start until a subscriber had its first token.

    `line` is tokens received, in `BINS` equal steps from `first_frame` to `last_frame`. `stall` is the longest time
    in which no text came, from `stall_began` on.
    """

    responses: int
    tokens: int
    frames: int
    text_frames: int
    snapshots: int
    repeated: int
    tokens_per_frame: float
    first_frame: float
    last_frame: float
    last_final: float
    stall: float
    stall_began: float
    response_stall: float
    """The longest time in which one response had no text, between its first and its last."""
    line: list[int]
    resumed: list[float]
    """When the first text came after each of the moments asked about."""
    latency: Spread | None = None
    first_token: Spread | None = None


@dataclass(slots=True)
class Observed:
    """What was new with each frame of text, in the order a connection had them."""

    snapshots: int = 0
    finals: list[float] = field(default_factory=list)
    moments: "array[float]" = field(default_factory=lambda: array("d"))
    text: list[tuple[float, int, int, int]] = field(default_factory=list)

    def note(self, name: str, moment: float, number: int, first: int, last: int) -> None:
        self.moments.append(moment)
        if name in TEXT_FRAMES:
            self.text.append((moment, number, first, last))


def spread(durations: Sequence[float]) -> Spread | None:
    """None of nothing."""
    if not durations:
        return None
    ordered = sorted(durations)

    def at(share: float) -> float:
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    return Spread(at(0.5), at(0.9), at(0.99), at(0.999), ordered[-1], len(ordered))


def figures(
    load: Load,
    seen: Observed,
    verdict: Report,
    times: Sequence[Sequence[float]] | None,
    after: Sequence[float] = (),
) -> Figures:
    seen.text.sort()
    latency, first_token = latencies(seen, times) if times is not None else (None, None)
    stall, stall_began = longest_stall(seen)
    first, last = min(seen.moments, default=0.0), max(seen.moments, default=0.0)
    return Figures(
        responses=load.responses,
        tokens=verdict.tokens,
        frames=verdict.frames,
        text_frames=verdict.text_frames,
        snapshots=seen.snapshots,
        repeated=verdict.repeated_as_published,
        tokens_per_frame=verdict.tokens / max(1, verdict.text_frames),
        first_frame=first,
        last_frame=last,
        last_final=max(seen.finals, default=last),
        stall=stall,
        stall_began=stall_began,
        response_stall=longest_wait(seen),
        line=line(seen, first, last),
        resumed=[next((moment for moment, *_ in seen.text if moment > mark), last) for mark in after],
        latency=latency,
        first_token=first_token,
    )


def latencies(seen: Observed, times: Sequence[Sequence[float]]) -> tuple[Spread | None, Spread | None]:
    every = array("d")
    firsts = array("d")
    for moment, number, first, last in seen.text:
        handed = times[number]
        every.extend(moment - handed[seq] for seq in range(first, last + 1))
        if first == 1:
            firsts.append(moment - handed[0])
    return spread(every), spread(firsts)


def longest_stall(seen: Observed) -> tuple[float, float]:
    """(seconds, when it began)"""
    moments = [moment for moment, *_ in seen.text]
    pauses = ((after - before, before) for before, after in pairwise(moments))
    return max(pauses, default=(0.0, 0.0))


def longest_wait(seen: Observed) -> float:
    before: dict[int, float] = {}
    longest = 0.0
    for moment, number, *_ in seen.text:
        longest = max(longest, moment - before.get(number, moment))
        before[number] = moment
    return longest


def line(seen: Observed, first: float, last: float) -> list[int]:
    bins = [0] * BINS
    width = (last - first) / BINS or 1.0
    edges = [first + width * step for step in range(1, BINS)]
    for moment, _, begin, end in seen.text:
        bins[bisect_left(edges, moment)] += end - begin + 1
    return bins
