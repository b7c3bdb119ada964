"""The produced load, as values computed from a seed: producer and checker each compute it, and must agree. Pure."""

import random
from collections import deque
from collections.abc import Iterator

import msgspec

# Pieces as tokenizers cut them: mostly short English, some of them not ASCII, some beyond the BMP.
WORDS = (
    *(" the", " of", " a", " in", " to", " and", "ing", "ed", ",", ".", "\n", " is", " that", "tion", " for", " be"),
    *(
        " token",
        " stream",
        " channel",
        " order",
        " partition",
        "s",
        "ly",
        " it",
        " with",
        "er",
        " (",
        ")",
        '"',
        " once",
    ),
    *(" response", "'s", " one", " which", " and", " café", " naïve", "日本", "の", "🙂", "\\n", "{", "}", " 42"),
)
TEXT = "text"
REASONING = "reasoning"


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """`responses` responses of `tokens` to 1.2 x `tokens` tokens each, `open` of them at once.

    Response number i is on channel i modulo `channels`. With `alternate`, tokens go to two parts by turns, so that no
    two neighbours may share a frame. With `leave_open` no response is stopped. `tokens_per_second` is the pace of all
    open responses together; 0 is as fast as Kafka takes them. Channels are called after `on`, or after the load
    itself.
    """

    name: str
    responses: int
    tokens: int = 300
    open: int = 200
    channels: int = 1_000
    seed: int = 1
    alternate: bool = False
    leave_open: bool = False
    tokens_per_second: float = 0.0
    on: str = ""

    def response_id(self, number: int) -> str:
        return f"{self.name}-{self.seed}-{number}"

    def number(self, response_id: str) -> int | None:
        """Which response an id names; None where it is not of this load."""
        prefix, _, number = response_id.rpartition("-")
        known = prefix == f"{self.name}-{self.seed}" and number.isdecimal() and int(number) < self.responses
        return int(number) if known else None

    def channel(self, number: int) -> str:
        return f"{self.on or self.name}:{number % self.channels}"

    def all_channels(self) -> list[str]:
        return [self.channel(number) for number in range(min(self.channels, self.responses))]

    def texts(self, number: int) -> list[str]:
        """The tokens of a response, in order."""
        chance = random.Random(self.seed * 1_000_003 + number)
        return chance.choices(WORDS, k=self.tokens + int(chance.random() * self.tokens * 0.2))

    def part(self, index: int) -> str:
        return REASONING if self.alternate and index % 2 else TEXT

    def parts(self, number: int) -> dict[str, str]:
        """The text of each part, whole."""
        texts = self.texts(number)
        if not self.alternate:
            return {TEXT: "".join(texts)}
        return {TEXT: "".join(texts[::2]), REASONING: "".join(texts[1::2])}

    def count(self) -> int:
        """All tokens of all responses."""
        return sum(len(self.texts(number)) for number in range(self.responses))

    def in_turns(self) -> Iterator[tuple[int, int, str | None]]:
        """Yields (response, seq, text) in the order of production. The open responses take turns; text None is a
        start or stop.

        A start has seq 0, and a stop is the last record of its response.
        """
        waiting = iter(range(self.responses))
        turns: deque[tuple[int, int, list[str]]] = deque()
        while True:
            while len(turns) < self.open and (number := next(waiting, None)) is not None:
                turns.append((number, 0, self.texts(number)))
            if not turns:
                return
            number, seq, texts = turns.popleft()
            yield number, seq, texts[seq - 1] if 0 < seq <= len(texts) else None
            last = len(texts) + (0 if self.leave_open else 1)
            if seq < last:
                turns.append((number, seq + 1, texts))
