"""Writes docs/results/fidelity.md from what a run found."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from devtools.fidelity.reasons import Kind, reason_of
from devtools.fidelity.results import Outcome
from devtools.fidelity.suites import SUITES, Suite

HEAD = """# Fidelity of the emulator

`devtools/emulator` speaks Ably's protocol for development and tests.
How well it does is measured with the test suites of Ably's own clients: they run unmodified against the emulator, and this page is what `make fidelity` found.
It is written by that command; the reason for each failing test is in `devtools/fidelity/reasons.py`.

What the emulator claims: connecting, resuming and recovering; attaching and detaching with rewind, modes and channel serials; publishing by realtime and REST with acknowledgements, refusals and ids; message updates, deletes and appends; history with paging and `untilAttach`; keys with capabilities, token requests and JSON web tokens; heartbeats; both formats.
It does not claim presence, push, statistics, annotations, LiveObjects, deltas, filtered subscriptions, token revocation or channel status.

How it is done: the suites create a test app on a sandbox; `devtools/fidelity/sandbox.py` answers that, ends TLS (the clients send no key over plain HTTP) and passes everything else to the emulator unchanged.
`echo.ably.io`, a public server the suites use for `authUrl`, is replaced by `devtools/fidelity/echo.py`.
There is no internet: tests of fallback hosts and of the internet check fail.
"""

AGAIN = """## Running it again

Below a directory of your choice, outside of this repository:

```console
git clone https://github.com/ably/ably-js && git -C ably-js checkout {js}
git -C ably-js submodule update --init
(cd ably-js && npm ci && npm run build:node && npm run build:push && npm run build:liveobjects)
git clone https://github.com/ably/ably-python && git -C ably-python checkout {python}
python3.11 -m venv venv && venv/bin/pip install ./ably-python 'pytest<8' 'pytest-asyncio<1' 'mock<5' 'respx<0.23' 'pytest-timeout<3' pycryptodome 'vcdiff-decoder>=0.1.0a1'
```

Then `make fidelity SUITES=that-directory`, as root or with leave to listen on ports 80 and 443: the Python suite knows no other.
It takes a quarter of an hour, most of it waiting, and ends with 1 when a failing test has no reason.
"""


def write(outcomes: Sequence[Outcome], commits: Mapping[str, str], unfinished: Mapping[str, str], date: str) -> str:
    sections = [HEAD, _counts(outcomes, commits, date)]
    if unfinished:
        lines = [f"- `{file}`: {why}" for file, why in sorted(unfinished.items())]
        sections.append("## Files that did not run to their end\n\n" + "\n".join(lines) + "\n")
    sections += [_failures(outcomes), _files(outcomes), _left_out()]
    js, python = (suite.commit for suite in SUITES)
    sections.append(AGAIN.format(js=js, python=python))
    return "\n".join(sections)


def _counts(outcomes: Sequence[Outcome], commits: Mapping[str, str], date: str) -> str:
    lines = [
        f"## What was found ({date})\n",
        "| suite | version, commit | tests | passed | skipped by the suite | failed |",
        "|---|---|---|---|---|---|",
    ]
    for suite in SUITES:
        own = [outcome for outcome in outcomes if outcome.suite == suite.name]
        failed, skipped = sum(bool(each.failure) for each in own), sum(each.skipped for each in own)
        passed = len(own) - failed - skipped
        version = f"{suite.version}, `{commits[suite.name][:12]}{commits[suite.name][40:]}`"
        lines.append(f"| {suite.name} | {version} | {len(own)} | {passed} | {skipped} | {failed} |")
    kinds = Counter(reason_of(outcome).kind for outcome in outcomes if outcome.failure)
    told = "; ".join(f"{kind}: {kinds[kind]}" for kind in Kind if kinds[kind])
    return "\n".join(lines) + f"\n\nOf the failures: {told or 'none'}.\n"


def _failures(outcomes: Sequence[Outcome]) -> str:
    grouped: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.failure:
            reason = reason_of(outcome)
            grouped[reason.kind, reason.what].append(outcome)
    lines = ["## What fails, and why\n"]
    order = list(Kind)
    for (kind, what), failed in sorted(grouped.items(), key=lambda each: (order.index(Kind(each[0][0])), each[0][1])):
        lines.append(f"### {kind}: {what} ({len(failed)})\n")
        names = Counter(f"`{each.suite}` {each.file}: {_short(each)}" for each in failed)
        lines += [f"- {name}{f' ({count} times)' if count > 1 else ''}" for name, count in sorted(names.items())]
        if kind == Kind.UNEXPLAINED:
            lines += [f"  - {each.failure[:300]}" for each in failed]
        lines.append("")
    return "\n".join(lines)


def _short(outcome: Outcome) -> str:
    """Without the file's name, and without which protocol it was varied with."""
    test = outcome.test.removeprefix(outcome.file).strip()
    for varied in (
        " with web_socket binary protocol",
        " with web_socket text protocol",
        " with binary protocol",
        " with text protocol",
    ):
        test = test.removesuffix(varied)
    return test.replace("|", "\\|")


def _files(outcomes: Sequence[Outcome]) -> str:
    lines = ["## File by file\n", "| file | passed | skipped | failed |", "|---|---|---|---|"]
    files: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        files[outcome.suite, outcome.file].append(outcome)
    for (suite, file), own in sorted(files.items()):
        failed, skipped = sum(bool(each.failure) for each in own), sum(each.skipped for each in own)
        lines.append(f"| {suite} {file} | {len(own) - failed - skipped} | {skipped} | {failed} |")
    return "\n".join(lines) + "\n"


def _left_out() -> str:
    lines = ["## Files that were not run\n"]
    for suite in SUITES:
        lines += [f"- {suite.name} {file}: {what}" for file, what in sorted(suite.left_out.items())]
    return "\n".join(lines) + "\n"


def commits_of(found: Mapping[str, str], suites: Sequence[Suite] = SUITES) -> list[str]:
    """What differs from the commits that the reasons were written for."""
    return [
        f"{suite.name} is at {found[suite.name]}, and the reasons are for {suite.commit}"
        for suite in suites
        if found[suite.name] != suite.commit
    ]
