"""The table of what the node showed: printed at the end of a run, and kept in docs/operations/kubernetes.md between two markers."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from deploy.node.outside import Judged

BEGIN, END = "<!-- seen on a node: begin -->", "<!-- seen on a node: end -->"
HEAD = ("step", "tokens", "lost", "repeated", "out of order", "seconds", "seen")


@dataclass(frozen=True, slots=True)
class Row:
    step: str
    seen: str
    seconds: float
    judged: Judged | None = None

    @property
    def cells(self) -> tuple[str, ...]:
        judged = self.judged
        counts = (judged.tokens, judged.lost, judged.repeated, judged.out_of_order) if judged else ("",) * 4
        return (
            self.step,
            *(f"{count:,}" if isinstance(count, int) else count for count in counts),
            f"{self.seconds:.0f}",
            self.seen,
        )


@dataclass
class Table:
    rows: list[Row] = field(default_factory=list)

    def markdown(self) -> str:
        lines = [HEAD, ("---", *("---:",) * 5, "---"), *(row.cells for row in self.rows)]
        return "".join(f"| {' | '.join(line)} |\n" for line in lines)

    def plain(self) -> str:
        cells = [HEAD, *(row.cells for row in self.rows)]
        widths = [max(len(line[column]) for line in cells) for column in range(len(HEAD))]
        return "\n".join(
            "  ".join(
                cell.rjust(width) if 0 < column < 6 else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in cells
        )

    def write_into(self, page: Path) -> None:
        """Raises ValueError where the page has no place for it."""
        text = page.read_text()
        written, count = re.subn(
            f"{re.escape(BEGIN)}.*{re.escape(END)}", lambda _: f"{BEGIN}\n{self.markdown()}{END}", text, flags=re.DOTALL
        )
        if count != 1:
            raise ValueError(f"{page} has no place for the table: a line {BEGIN}, a line {END}.")
        page.write_text(written)
