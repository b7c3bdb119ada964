"""The blocks of a producer's responses: a control record cancels those that are open, or that begin within a minute."""

import time
from dataclasses import dataclass, field

from topics.cancellation import Scope
from topics.controls import REMEMBERED_SECONDS, ControlRecord, ControlsMemory


@dataclass(slots=True, eq=False)
class Block:
    """The block of one task for a response, or for what precedes it."""

    response_id: str
    channel: str
    scope: Scope = field(default_factory=Scope)
    began_at: float = field(default_factory=time.monotonic)


class OpenBlocks:
    """Call `enter` before each block and `leave` after it, in the block's task; `obey` with each control."""

    def __init__(self) -> None:
        self.memory = ControlsMemory()
        self._open: dict[str, set[Block]] = {}

    def obey(self, control: ControlRecord, age: float) -> None:
        """Leaves the blocks that the control counts for. `age` is in seconds."""
        now = time.monotonic()
        self.memory.note(control, now - age, now)
        for block in tuple(self._open.get(control.response_id, ())):
            # A cancel that came long before the start of the response is another matter.
            if control.concerns(block.channel) and age <= now - block.began_at + REMEMBERED_SECONDS:
                block.scope.cancel()

    def enter(self, block: Block) -> None:
        """Begins the block, which is left at its first wait if the response is already cancelled."""
        block.scope.enter()
        self._open.setdefault(block.response_id, set()).add(block)
        if self.memory.find(block.response_id, block.channel, time.monotonic()):
            block.scope.cancel()

    def leave(self, block: Block, error: BaseException | None) -> bool:
        """Ends the block. Returns True if `error`, which leaves it, must be absorbed."""
        blocks = self._open.get(block.response_id, set())
        blocks.discard(block)
        if not blocks:
            self._open.pop(block.response_id, None)
        return block.scope.leave(error)
