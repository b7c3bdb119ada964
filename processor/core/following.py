"""Takes in plain tokens, nearly all there are, a fetched batch at a time.

A response that waits for nothing but its next token is *followed* through the batch: its tokens are appended to a run,
and what they change beside that (sizes, offsets, costs) is changed once for all of them, when the following ends. It ends
with the batch, or with the first record of the response that is not the plain token expected: the slow path, which
judges that, finds the response as if its tokens had come one by one.
"""

from processor.core.items import PartText, Run
from processor.core.limits import PENDING_COST
from processor.core.response import Response
from topics.plain import PlainToken


class Following:
    """One response, followed through one batch."""

    __slots__ = ("_began", "_bytes", "expected", "kind", "part", "response", "room", "run")

    def __init__(self, response: Response, token: PlainToken, part: PartText, limit: int) -> None:
        """`token` is the first to come, of `part`; a record of the response may take `limit` bytes."""
        self.response = response
        self.expected = token.seq
        """The number to come; None where the response leaves numbers out."""
        self.part = token.part
        self.kind = token.kind
        self.room = self._bytes = limit - response.size
        """Bytes of values whose texts surely fit into the record: none takes more in it than in its value."""
        tail = response.queue[-1] if response.queue else None
        if type(tail) is Run and tail.part is part:
            self.run = tail
        else:
            self.run = Run(response.next_seq, part, [], [], [])
            response.begin_run(self.run)
        self._began = self.run.count

    def end(self, batch: int, now: float) -> tuple[int, int]:
        """Note in the response what its tokens changed. How many they were, and their cost."""
        response, run, began = self.response, self.run, self._began
        count = run.count - began
        if not count:
            if not began:
                response.drop_run()
            return 0, 0
        held = self._bytes - self.room + count * PENDING_COST
        run.cost += held
        response.end_run(run, began, batch=batch, held=held, now=now)
        return count, held
