"""What was produced: every record with what its producer meant by it, those too that a log has lost since."""

from collections import defaultdict
from collections.abc import Iterator

from simulation.log import Brokers, Log, LogRecord
from simulation.plan import Truth


class Produced:
    def __init__(self, brokers: Brokers) -> None:
        self._brokers = brokers
        self.truths: dict[tuple[int, int], Truth] = {}
        """What was meant, by (partition, offset)."""
        self.damaged: set[str] = set()
        """Responses of which a log lost something, or took something in at an offset that it had used before.

        What is right for them depends on who had read what by then.
        """
        self._reused: set[tuple[int, int]] = set()
        self.longest: dict[int, int] = {}
        """Of partitions that lost their end: where they ended then."""
        self._numbered: dict[str, list[int]] = defaultdict(list)
        """Offsets of the valid records of responses without numbers, in order."""
        self._counted: dict[int, int] = defaultdict(int)

    def add(self, number: int, offset: int, truth: Truth) -> None:
        self.truths[number, offset] = truth
        if offset < self.longest.get(number, 0):
            self._reused.add((number, offset))
            self._note_damage(truth)

    def _note_damage(self, truth: Truth) -> None:
        if truth.wrong is None:
            self.damaged.add(truth.response_id)

    def is_damaged(self, number: int, offset: int) -> bool:
        """Returns True if the correct outcome of this record is undetermined."""
        return (number, offset) in self._reused or self.truths[number, offset].response_id in self.damaged

    def lose_end(self, number: int, end: int, longest: int) -> None:
        """The partition, which ended at `longest`, ends at `end` now."""
        self.longest[number] = max(longest, self.longest.get(number, 0))
        self._counted[number] = min(end, self._counted[number])
        for (partition, offset), truth in list(self.truths.items()):
            if partition == number and (offset >= end or truth.seq is None):
                self._note_damage(truth)
                if offset >= end:
                    del self.truths[partition, offset]

    def count(self, log: Log, until: int) -> None:
        """Number the records of responses without numbers, up to an offset."""
        for record in log.read(self._counted[log.number], until):
            truth = self.truths[log.number, record.offset]
            numbered = self._numbered[truth.response_id]
            # A record before the start is not a token of the response: without a number it cannot be held until the start arrives.
            if truth.seq is None and truth.wrong is None and (numbered or truth.event == "start"):
                numbered.append(record.offset)
        self._counted[log.number] = max(until, self._counted[log.number])

    def seq_of(self, offset: int, truth: Truth) -> int:
        """-1 for a token without a number that came before the response's start."""
        if truth.seq is not None:
            return truth.seq
        numbered = self._numbered[truth.response_id]
        return numbered.index(offset) if offset in numbered else -1

    def all(self) -> Iterator[tuple[int, LogRecord, Truth]]:
        for number, log in enumerate(self._brokers.tokens):
            for record in log.read(0, log.end):
                yield number, record, self.truths[number, record.offset]

    def of(self, response_id: str) -> Iterator[tuple[int, LogRecord, Truth]]:
        for number, record, truth in self.all():
            if truth.response_id == response_id and truth.wrong is None:
                yield number, record, truth


def joined(tokens: list[tuple[int, Truth]]) -> dict[str, str]:
    """Texts by part: halves of a pair joined where they follow each other in one part, else replaced."""
    texts: dict[str, str] = defaultdict(str)
    unpaired: tuple[int, str] | None = None
    for seq, truth in tokens:
        text, part = truth.text, truth.part
        low = bool(text) and "\udc00" <= text[0] <= "\udfff"
        if unpaired is not None and not (low and unpaired == (seq - 1, part)):
            texts[unpaired[1]] = texts[unpaired[1]][:-1] + "\ufffd"
            unpaired = None
        if low and unpaired is None:
            text = "\ufffd" + text[1:]
        texts[part] += text
        unpaired = (seq, part) if text and "\ud800" <= text[-1] <= "\udbff" else None
    if unpaired is not None:
        texts[unpaired[1]] = texts[unpaired[1]][:-1] + "\ufffd"
    return {part: text.encode("utf-16-le", "surrogatepass").decode("utf-16-le") for part, text in texts.items()}
