"""A sample model service: people ask, models answer, several at once, at a human pace.

It writes to Kafka with `topics.producer`, as any model service does, and remembers what it wrote, for comparison with
what readers got.
"""

import asyncio
import itertools
import random
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from devtools.demo.scripts import MODELS, Piece, Script, answer_for, prompt_for, tokens, whole
from devtools.produced import Produced
from topics.producer import TokenProducer


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast models write; 0 tokens a second means as fast as Kafka takes them."""

    tokens_per_second: float = 45.0
    thinking: float = 0.4
    """Seconds before a model's first token."""
    between: float = 5.0
    """Seconds from one question of the conversation to the next."""


@dataclass(slots=True)
class SampleModel:
    """Writes to `channel`. The conversation is computed from `seed`; the jitter of its pace does not change the texts."""

    producer: TokenProducer
    channel: str
    pace: Pace = field(default_factory=Pace)
    seed: int = 0
    produced: list[Produced] = field(default_factory=list)
    wall: Callable[[], float] = time.time
    keep: int = 10_000
    """How many of `produced` are remembered."""

    async def prompt(self, name: str, text: str) -> Produced:
        """A person's words, as a response of their own, so that every window sees them in order."""
        metadata = {"role": "user", "name": name, "at": self._now()}
        return await self._write(
            Script(name, tuple(Piece(word) for word in tokens(text, random.Random(0)))), metadata, rate=0.0
        )

    async def answer(self, seed: int, model: str | None = None) -> Produced:
        script = answer_for(seed, model)
        metadata = {"role": "assistant", "model": script.model, "at": self._now()}
        return await self._write(script, metadata, rate=self.pace.tokens_per_second)

    async def ask(self, name: str, text: str, *, everyone: bool = False) -> list[Produced]:
        """A prompt and its answer, or the answers of all models at once."""
        seed = sum(map(ord, text)) + len(self.produced)
        asked = await self.prompt(name, text)
        models = MODELS if everyone else (None,)
        async with asyncio.TaskGroup() as group:
            answers = [group.create_task(self.answer(seed + n, model)) for n, model in enumerate(models)]
        return [asked, *(answer.result() for answer in answers)]

    async def converse(self, questions: int | None = None) -> None:
        """Ask on and on (or `questions` times); answers overlap, and at times two models answer one question."""
        chance = random.Random(self.seed)
        async with asyncio.TaskGroup() as group:
            for number in itertools.count(self.seed):
                if questions is not None and number - self.seed >= questions:
                    return
                await self.prompt(*prompt_for(number))
                for offset in range(chance.choice((1, 1, 2))):
                    group.create_task(self.answer(number + offset * 8, MODELS[(number + offset) % len(MODELS)]))
                await asyncio.sleep(self.pace.between * chance.uniform(0.6, 1.4))

    async def _write(self, script: Script, metadata: dict[str, Any], rate: float) -> Produced:
        texts: dict[str, list[str]] = defaultdict(list)
        chance = random.Random()
        async with self.producer.response(self.channel, metadata=metadata) as response:
            if rate:
                await asyncio.sleep(self.pace.thinking * chance.uniform(0.5, 1.5))
            for piece in script.pieces:
                await response.token(piece.text, kind=piece.kind, part=piece.part, part_info=piece.info)
                texts[piece.part or piece.kind].append(piece.text)
                if rate:
                    await asyncio.sleep(chance.expovariate(rate))
            await response.stop(reason=script.reason, usage={"outputTokens": len(script.pieces)})
        count = sum(map(len, texts.values()))  # fewer than there are, if Stop was pressed
        joined = {part: whole(pieces) for part, pieces in texts.items()}
        produced = Produced(response.response_id, self.channel, joined, count, script.model)
        self.produced.append(produced)
        del self.produced[: -self.keep]
        return produced

    def _now(self) -> int:
        return int(self.wall() * 1000)
