"""The texts of the sample models: prompts and answers, computed from a seed. The same seed gives the same words and
tokens.
"""

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

PEOPLE = ("Ada", "Bo", "Chidi", "Dagny", "Emre", "Fern", "Grace", "Hiro", "Inês", "Jun")
MODELS = ("fjord-large", "fjord-mini", "sumi-2", "atlas-reason")

PROMPTS = (
    "How do I keep a token stream in order when publishes can fail?",
    "Write me a haiku about queues, then translate it.",
    "What's the weather in Lisbon, and should I bring a jacket?",
    "Compare retry strategies in a small table, please.",
    "Explain UTF-16 to someone who only knows ASCII 🙂",
    "Say hello in as many languages as fit in a paragraph.",
    "Show me exponential backoff in Python.",
    "What should be on a checklist before a launch?",
)

ANSWERS = (
    """The trick is to have **one publish in flight** per channel.

1. Send what you have.
2. While you wait for the acknowledgement, *collect* what arrives.
3. Send the collection as one frame.

That gives you order by construction, and a slow network makes frames larger instead of losing them. A rejected frame is simply sent again, with the same id:

> An id that names its whole range can be repeated safely: the reader drops what it already has.

So the rate limit turns into *roll-up*, not into holes.""",
    """Here is one:

> tokens in a line —
> one waits for the other's nod,
> nothing falls between

And in Japanese:

> 列に並ぶ
> うなずき一つ
> 次の言葉

Auf Deutsch, etwas freier: *Die Wörter warten still; keines überholt, keines fehlt.*""",
    """It is **19 °C** in Lisbon, with a light wind from the north-west. ☀️

A thin jacket is enough — and mind the hills: `Bairro Alto` is steeper than it looks. 🧗‍♀️""",
    """| strategy | good for | mind |
|---|---|---|
| fixed delay | tests | herds of retries |
| exponential | outages | long tails |
| exponential + jitter | nearly everything | needs a cap |
| token bucket | rate limits | tuning |

If you take only one thing away: **jitter is not optional** once there is more than one client.""",
    """Imagine a row of boxes, each holding a number up to 65,535.

- `A` fits into one box: `0x0041`
- `é` fits too: `0x00E9`
- `漢` as well: `0x6F22`
- but 😀 needs **two** boxes: `0xD83D 0xDE00`

Those two are a *surrogate pair*. JavaScript counts boxes, so `'😀'.length` is **2**, and 👩‍👩‍👧‍👦 counts 11. That is why an offset must say what it counts.""",
    """Hello! Hej! ¡Hola! Olá! Bonjour! Γειά σου! Привет! שלום! مرحبا! नमस्ते! สวัสดี! 你好! こんにちは! 안녕하세요! Xin chào! Habari! Сәлем! გამარჯობა! Բարեւ! — and, for good measure, 👋🏽🌍.

Right-to-left scripts sit happily inside a line, e.g. «שלום עולם» or «مرحبا بالعالم», without turning the rest around.""",
    """Sure:

```python
import asyncio
import random


async def retry(action, *, base=0.25, cap=10.0):
    delay = base
    while True:
        try:
            return await action()
        except ConnectionError:
            await asyncio.sleep(delay * random.uniform(0.5, 1.5))
            delay = min(cap, delay * 2)
```

Two remarks:

- The *jitter* keeps a thousand clients from coming back in the same millisecond.
- Catch what can pass, e.g. `ConnectionError`; let a real bug surface.""",
    """### Before the launch

- [x] Alerts fire, and someone **reads** them
- [x] A restart in the middle of everything loses nothing
- [ ] The rollback was tried, not just written down
- [ ] The status page doesn't live on the thing it reports on

### After it

Watch the *first token* rather than the average: people forgive a long answer, not a long silence.""",
)

REASONING = (
    "The question sounds simple, but the order of failures matters. I should name the invariant first, then the mechanism. ",
    "Let me think about what could go wrong here: a retry may overtake, an acknowledgement may get lost, a reader may join late. ",
    "The user wants something short. I'll lead with the answer and keep one example. 考えをまとめる… ",
)

WORDS = re.compile(r"\s*[\w'’-]{1,7}|\s+|.", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Piece:
    """One token: what a model service hands over at once."""

    text: str
    kind: str = "text"
    part: str | None = None
    info: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Script:
    """The complete content of one answer."""

    model: str
    pieces: tuple[Piece, ...]
    reason: str = "stop"


def prompt_for(seed: int) -> tuple[str, str]:
    """Who asks, and what."""
    return PEOPLE[seed * 7 % len(PEOPLE)], PROMPTS[seed % len(PROMPTS)]


def answer_for(seed: int, model: str | None = None) -> Script:
    """Returns an answer. Every `len(ANSWERS)`-th seed gives the same text, cut into other tokens."""
    chance = random.Random(seed)
    topic = seed % len(ANSWERS)
    pieces: list[Piece] = []
    if topic in (0, 4, 7) or chance.random() < 0.25:
        pieces += [Piece(token, "reasoning") for token in tokens(chance.choice(REASONING), chance)]
    if topic == 2:
        pieces += _tool_call("call_1", "get_weather", {"city": "Lisbon", "unit": "celsius"}, chance)
        pieces += _tool_call("call_2", "get_wind", {"city": "Lisbon"}, chance)
    pieces += [Piece(token) for token in tokens(ANSWERS[topic], chance)]
    return Script(model or MODELS[chance.randrange(len(MODELS))], tuple(pieces))


def tokens(text: str, chance: random.Random) -> Iterator[str]:
    """Cut as tokenizers do: word pieces, and now and then a surrogate pair in its two halves."""
    for word in WORDS.findall(text):
        if word > "\uffff" and chance.random() < 0.3:
            halves = word.encode("utf-16-le")
            yield halves[:2].decode("utf-16-le", "surrogatepass")
            yield halves[2:].decode("utf-16-le", "surrogatepass")
        else:
            yield word


def whole(texts: list[str]) -> str:
    """The text that tokens make: halves of a pair joined."""
    return "".join(texts).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _tool_call(part: str, name: str, arguments: dict[str, Any], chance: random.Random) -> list[Piece]:
    return [Piece(token, "tool_call", part, {"name": name}) for token in tokens(json.dumps(arguments), chance)]
