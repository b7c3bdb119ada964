"""Consumes plain tokens, which nearly all records are, one fetched batch at a time.

A response that waits only for its next token is *followed* through the batch.
Its tokens are appended to a run; sizes, offsets and costs change once for all of them, when the following ends.
It ends with the batch, or with the first record of the response that is not the expected plain token.
The slow path then handles that record, and finds the response as if its tokens had arrived one by one.
"""

from processor.core.items import PartText, Run
from processor.core.limits import PENDING_COST
from processor.core.response import Response
from topics.plain import PlainToken


class Following:
    """One response, followed through one batch."""

    __slots__ = ("_began", "_bytes", "expected", "kind", "part", "response", "room", "run")

    def __init__(self, response: Response, token: PlainToken, part: PartText, limit: int) -> None:
        """Begins to follow. `token` is the next token, of `part`; a record of the response may take `limit` bytes."""
        self.response = response
        self.expected = token.seq
        """The next number; None if the producer leaves numbers out."""
        self.part = token.part
        self.kind = token.kind
        self.room = self._bytes = limit - response.size
        """The bytes of values that certainly fit into the record: no text takes more bytes in the record than in its
        value.
        """
        tail = response.queue[-1] if response.queue else None
        if type(tail) is Run and tail.part is part:
            self.run = tail
        else:
            self.run = Run(response.next_seq, part, [], [], [])
            response.begin_run(self.run)
        self._began = self.run.count

    def end(self, batch: int, now: float) -> tuple[int, int]:
        """Applies the tokens to the response. Returns their number and their cost."""
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
