"""The lab can fail: planted faults of either program come out in its counts, and a failing row is never hidden."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from devtools.emulator.server import LocalRealtime
from devtools.emulator.wire import Message
from devtools.faultlab.processes import Crew, PlainProcess
from devtools.faultlab.report import Facts, render
from devtools.faultlab.results import Counts, Result, load, save
from devtools.faultlab.rows import ROWS
from devtools.faultlab.sides import Side, judge_plain, judge_published
from devtools.judge.texts import Tally
from devtools.produced import Produced
from processor.reader.frames import sha256_of, utf16_length

FACTS = Facts(date="2026-11-23", machine="a machine", versions={"Python": "3.11"})
SIZE = len("word<1>")
TOKENS = 5


def given() -> Produced:
    produced = Produced("r", "chat:0", ended=True)
    for number in range(1, TOKENS + 1):
        produced.add("text", f"word<{number}>")
    return produced


def message(name: str, data: str | None, encoding: str | None = None, **headers: str) -> Message:
    extras = {"headers": {"responseId": "r"} | headers}
    return Message(name=name, data=data, encoding=encoding, client_id="tokenstream", extras=extras)


def frames() -> list[Message]:
    """As tokenstream publishes the response, with a frame for each token."""
    text = given().texts["text"]
    digest = {"part": "text", "length": utf16_length(text), "sha256": sha256_of(text)}
    tokens = [
        message("token", text, seq=str(number), seqEnd=str(number), offset=str(SIZE * (number - 1)))
        for number, (_, text) in enumerate(given().pieces, start=1)
    ]
    stop = {"reason": "stop", "status": "complete", "parts": [digest]}
    return [message("start", "null", "json", seq="0"), *tokens, message("stop", json.dumps(stop), "json", seq="6")]


def side(name: str, messages: list[Message]) -> Side:
    server = LocalRealtime(admin=True)
    server.log["chat:0"].extend(messages)
    return Side(name, server, Crew(), "group", lambda **settings: PlainProcess(settings))


def of_tokenstream(messages: list[Message]) -> Counts:
    tally = Tally()
    tally.given([given()])
    judge_published(tally, side("tokenstream", messages), [given()])
    return counts(tally)


def of_plain(messages: list[Message]) -> Counts:
    return counts(judge_plain(side("plain", messages), [given()]))


def counts(tally: Tally) -> Counts:
    return Counts(
        tokens=tally.tokens,
        out_of_order=tally.out_of_order,
        lost=len(tally.lost),
        repeated_as_published=tally.repeated_as_published,
        repeated_for_reader=tally.repeated_for_reader,
        unfinished=len(tally.unfinished),
        problems=tally.problems,
    )


@pytest.mark.parametrize("judge", [of_tokenstream, of_plain])
def test_what_was_published_well_is_faultless(judge: Callable[[list[Message]], Counts]) -> None:
    assert judge(frames()).faultless(exact=True)
    assert judge(frames()).tokens == TOKENS


@pytest.mark.parametrize("judge", [of_tokenstream, of_plain])
def test_a_frame_left_out_is_a_loss(judge: Callable[[list[Message]], Counts]) -> None:
    found = judge([one for number, one in enumerate(frames()) if number != 2])
    assert found.lost == 1
    assert not found.faultless(exact=False)


@pytest.mark.parametrize("judge", [of_tokenstream, of_plain])
def test_frames_that_change_places_are_out_of_order(judge: Callable[[list[Message]], Counts]) -> None:
    messages = frames()
    messages[2], messages[3] = messages[3], messages[2]
    assert judge(messages).out_of_order == 1
    assert not judge(messages).faultless(exact=False)


@pytest.mark.parametrize("judge", [of_tokenstream, of_plain])
def test_a_stop_that_never_came_is_an_unfinished_response(judge: Callable[[list[Message]], Counts]) -> None:
    assert judge(frames()[:-1]).unfinished == 1
    assert not judge(frames()[:-1]).faultless(exact=False)


def test_a_frame_published_twice_is_forgiven_only_where_a_row_can_not_rule_it_out() -> None:
    messages = frames()
    messages.insert(3, messages[2])
    found = of_tokenstream(messages)
    assert found.repeated_as_published == 1
    assert found.faultless(exact=False)
    assert not found.faultless(exact=True)


def test_what_the_plain_program_repeats_its_reader_shows_twice() -> None:
    messages = frames()
    messages.insert(3, messages[2])
    assert of_plain(messages).repeated_for_reader == 1


def test_a_stop_with_another_hash_than_that_of_what_was_produced_is_a_problem() -> None:
    messages = frames()
    assert messages[-1].data is not None
    stop = json.loads(messages[-1].data)
    stop["parts"][0]["sha256"] = sha256_of("something else")
    messages[-1] = message("stop", json.dumps(stop), "json", seq="6")
    assert not of_tokenstream(messages).faultless(exact=False)


def results(**changed: Counts) -> dict[str, Result]:
    whole = Counts(tokens=TOKENS, responses=1)
    return {row.name: Result(row.name, counts={"tokenstream": changed.get(row.name, whole)}) for row in ROWS}


def test_a_report_of_faultless_rows_has_nothing_red() -> None:
    told = render(ROWS, results(), FACTS)
    assert "🔴" not in told.split("## How to read it")[0]
    assert all(row.title in told for row in ROWS)


def test_a_row_with_one_lost_token_is_red_in_the_report_and_named_before_the_table() -> None:
    told = render(ROWS, results(calm=Counts(tokens=TOKENS, lost=1, problems=["published: r misses 1 tokens"])), FACTS)
    before, _, table = told.partition("| fault |")
    assert "1 of" in before
    assert "🔴" in next(line for line in table.splitlines() if "No fault at all" in line)
    assert "published: r misses 1 tokens" in told


def test_a_row_that_was_not_run_is_red_and_says_why() -> None:
    found = results() | {"disk-full": Result("disk-full", not_run="a file system to fill needs root")}
    lines = render(ROWS, found, FACTS).splitlines()
    line = next(line for line in lines if line.startswith("|") and "Disk of the SQLite store" in line)
    assert "🔴" in line
    assert "needs root" in line
    assert not found["disk-full"].passes(exact=False)


def test_a_row_in_which_nothing_was_produced_proves_nothing() -> None:
    assert not Result("calm", counts={"tokenstream": Counts()}).passes(exact=False)


def test_recovery_that_never_came_fails_a_row() -> None:
    assert not Counts(tokens=1, recovery_measured=True).faultless(exact=False)
    assert Counts(tokens=1, recovery_measured=True, recovery=3.0).faultless(exact=False)


def test_a_result_comes_back_from_disk_as_it_was(tmp_path: Path) -> None:
    result = Result("calm", counts={"tokenstream": Counts(tokens=3, recovery=1.5, peaks={"relay": 90})})
    save(result, tmp_path)
    assert load("calm", tmp_path) == result
    assert load("poison", tmp_path) is None
