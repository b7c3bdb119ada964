"""What model services write, and a record of it, to compare with what readers received."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from topics.producer import TokenProducer

WORDS = (
    "Hello ",
    "wörld ",
    "日本語",
    "👩‍👩‍👧 ",
    "\U0001f600",
    "code()\n",
    '"quoted" ',
    "\\",
    "שלום ",
    "a",
    " the ",
    "né",
)
"""Of what tokens are made: scripts, surrogate pairs, quotes and escapes."""
KINDS = {"text": "text", "reasoning": "reasoning", "call_1": "tool_call"}
"""Parts of a response, and their kinds."""


@dataclass(slots=True)
class Produced:
    """What was written of one response: its text by part, and the number of its tokens.

    `pieces[n - 1]` is (part, text) of token n, where tokens were added one by one.
    """

    response_id: str
    channel: str
    texts: dict[str, str] = field(default_factory=dict)
    tokens: int = 0
    author: str = ""
    pieces: list[tuple[str, str]] = field(default_factory=list)
    ended: bool = False
    """Whether its stop is in Kafka."""

    def add(self, part: str, text: str) -> None:
        self.texts[part] = self.texts.get(part, "") + text
        self.tokens += 1
        self.pieces.append((part, text))


async def write(producer: TokenProducer, produced: Produced, script: AsyncIterator[tuple[str, str]]) -> None:
    """Writes a response of the texts of the script: (part, text) by (part, text)."""
    response_id, channel = produced.response_id, produced.channel
    async with producer.response(channel=channel, response_id=response_id, metadata={"model": "m"}) as response:
        async for part, text in script:
            await response.token(text, kind=KINDS[part], part=part)
            produced.add(part, text)
    produced.ended = True
