"""The judge that is independent of our reader: counts the outcome of every token, from texts only. Pure.

Each token's text ends with its own number (`word<17>`). So any copy of a response (frames in the order they were
published, the text that a
reader shows, the text in a store) shows which tokens it has, which twice, and in which order.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from devtools.produced import Produced

NUMBER = re.compile(r"<(\d+)>")
MAX_PROBLEMS = 20


def numbers_of(produced: Produced) -> frozenset[int]:
    """Returns the numbers of its tokens."""
    return frozenset(range(1, produced.tokens + 1))


@dataclass(frozen=True, slots=True)
class Seen:
    """The tokens of a copy, in its order. `foreign` counts stretches of text that are no token of the response."""

    numbers: tuple[int, ...] = ()
    foreign: int = 0

    @property
    def repeated(self) -> int:
        return len(self.numbers) - len(set(self.numbers))

    @property
    def out_of_order(self) -> int:
        """Tokens that are behind a later one and were not there before it."""
        highest, before, wrong = 0, set[int](), 0
        for number in self.numbers:
            wrong += number < highest and number not in before
            before.add(number)
            highest = max(highest, number)
        return wrong


def see(produced: Produced, pieces: Iterable[str]) -> Seen:
    """The tokens in `pieces`, each of which holds whole tokens."""
    numbers: list[int] = []
    foreign = 0
    for piece in pieces:
        at = 0
        for mark in NUMBER.finditer(piece):
            number = int(mark[1])
            known = 1 <= number <= produced.tokens and produced.pieces[number - 1][1] == piece[at : mark.end()]
            if known:
                numbers.append(number)
            foreign += not known
            at = mark.end()
        foreign += at < len(piece)
    return Seen(tuple(numbers), foreign)


@dataclass(slots=True)
class Tally:
    """The counts of one program in one row. A token is lost once, in however many places it is missing."""

    tokens: int = 0
    responses: int = 0
    out_of_order: int = 0
    repeated_as_published: int = 0
    repeated_for_reader: int = 0
    lost: set[tuple[str, int]] = field(default_factory=set)
    unfinished: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    def say(self, problem: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)

    def given(self, given: Iterable[Produced]) -> None:
        for one in given:
            self.responses += 1
            self.tokens += one.tokens

    def published(self, produced: Produced, pieces: Iterable[str], *, stopped: bool) -> None:
        """The pieces of all parts in the order they were published."""
        seen = see(produced, pieces)
        self.out_of_order += seen.out_of_order
        self.repeated_as_published += seen.repeated
        self._missing("published", produced, [seen], stopped=stopped)

    def read(self, produced: Produced, texts: Mapping[str, str], *, stopped: bool) -> None:
        """What a reader shows in the end, by part."""
        seen = [see(produced, [text]) for text in texts.values()]
        self.out_of_order += sum(one.out_of_order for one in seen)
        self.repeated_for_reader += sum(one.repeated for one in seen)
        self._missing("read", produced, seen, stopped=stopped)

    def stored(self, produced: Produced, texts: Mapping[str, str], *, stopped: bool) -> None:
        """What the store holds, by part: any difference at all is a problem."""
        seen = [see(produced, [text]) for text in texts.values()]
        self._missing("stored", produced, seen, stopped=stopped)
        if stopped and {part: text for part, text in texts.items() if text} != produced.texts:
            self.say(f"stored: {produced.response_id} is not what was produced")

    def _missing(self, where: str, produced: Produced, seen: Sequence[Seen], *, stopped: bool) -> None:
        missing = numbers_of(produced) - {number for one in seen for number in one.numbers}
        if missing:
            self.lost |= {(produced.response_id, number) for number in missing}
            self.say(f"{where}: {produced.response_id} misses {len(missing)} tokens, the first is {min(missing)}")
        if any(one.foreign for one in seen):
            self.say(f"{where}: {produced.response_id} holds text that was not produced")
        if not stopped:
            self.unfinished.add(produced.response_id)
            self.say(f"{where}: {produced.response_id} has no end")


def recovery(frames: Mapping[str, Sequence[float]], since: float, until: float) -> float | None:
    """The longest silence of any channel between `since` and `until`, in seconds; None where one stayed silent.

    `frames`: times by channel.
    """
    longest = 0.0
    for times in frames.values():
        within = sorted(at for at in times if since < at <= until)
        if not within:
            return None
        longest = max(longest, *(after - before for before, after in pairwise([since, *within, until])))
    return longest
