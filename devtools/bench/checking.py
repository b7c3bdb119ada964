"""Checks every frame of a run by the judge of frames, and the committed record of every response, against what was
produced. Pure.
"""

from devtools.bench.load import Load
from devtools.judge.frames import FramesJudge, Report
from processor.reader.frames import Message
from topics.records import ResponseRecord


class Checker:
    """Call `feed` with the frames of each channel in their order, and `commit` with final records in any order; then
    call `verdict`.

    `feed` returns the sequence numbers that were new in the message: (response, first, last), or None.
    """

    def __init__(self, load: Load) -> None:
        self._load = load
        self._judge = FramesJudge()
        self._finals: dict[int, ResponseRecord] = {}

    def feed(self, message: Message) -> tuple[int, int, int] | None:
        new = self._judge.feed(message)
        if new is None:
            return None
        number = self._load.number(new[0])
        if number is None:
            self._judge.report.malformed += 1
            self._judge.report.note_error(f"of no response that was produced: {message}"[:300])
            return None
        return number, new[1], new[2]

    def commit(self, record: ResponseRecord) -> bool:
        """A committed record. Whether it is the first final one of a response of this load."""
        number = self._load.number(record.response_id)
        if number is None or not record.finished:
            return False
        known = number in self._finals
        self._finals[number] = record
        return not known

    def verdict(self) -> Report:
        """What is wrong, everything that should have come having come or not. To be asked once, at the end."""
        for number in range(self._load.responses):
            self._judge.compare(self._load.response_id(number), self._load.parts(number))
            self._judge_record(number)
        return self._judge.finish()

    def _judge_record(self, number: int) -> None:
        record, report = self._finals.get(number), self._judge.report
        stored = {part.part: part.text for part in record.parts} if record is not None else {}
        wanted = {part: text for part, text in self._load.parts(number).items() if text}
        count = len(self._load.texts(number))
        if record is None or stored != wanted or record.tokens != count:
            report.uncommitted += count
            report.note_error(f"not whole in a committed record: {self._load.response_id(number)}")
