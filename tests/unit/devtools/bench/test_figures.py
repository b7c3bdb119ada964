from devtools.bench.figures import Observed, figures, spread
from devtools.bench.load import Load
from devtools.judge.frames import Report

LOAD = Load(name="t", responses=2, tokens=3)
# Response 0 hands over its start at 0 s and a token each second; response 1 the same, half a second later.
TIMES = [[0.0, 1.0, 2.0, 3.0, 4.0], [0.5, 1.5, 2.5, 3.5, 4.5]]


def observed() -> Observed:
    seen = Observed()
    seen.note("start", 0.1, 0, 0, 0)
    seen.note("token", 1.25, 0, 1, 1)
    seen.note("token", 1.75, 1, 1, 1)
    seen.note("token", 3.5, 0, 2, 3)
    seen.note("part", 3.75, 1, 2, 3)
    seen.note("stop", 5.0, 0, 4, 4)
    seen.finals += [5.5, 5.25]
    return seen


def test_a_tokens_latency_is_from_its_own_handing_over_though_it_shared_a_frame() -> None:
    told = figures(LOAD, observed(), Report(tokens=6, frames=6, text_frames=4), TIMES)
    assert told.latency is not None
    assert told.latency.count == 6
    assert told.latency.longest == 1.5  # token 2 of response 0: handed over at 2, there at 3.5
    assert told.latency.p50 == 0.5


def test_a_first_token_counts_from_its_responses_start() -> None:
    told = figures(LOAD, observed(), Report(), TIMES)
    assert told.first_token is not None
    assert (told.first_token.count, told.first_token.longest) == (2, 1.25)


def test_the_longest_time_without_text_is_told_with_its_beginning() -> None:
    told = figures(LOAD, observed(), Report(), None)
    assert (told.stall, told.stall_began) == (1.75, 1.75)
    assert told.response_stall == 2.25  # response 0 had text at 1.25, and then at 3.5
    assert told.latency is None


def test_the_line_holds_every_token_and_the_first_text_after_a_moment_is_found() -> None:
    told = figures(LOAD, observed(), Report(), None, [1.5, 9.0])
    assert sum(told.line) == 6
    assert told.resumed == [1.75, 5.0]
    assert told.last_final == 5.5


def test_percentiles_of_a_hundred() -> None:
    told = spread([float(n) for n in range(100)])
    assert told is not None
    assert (told.p50, told.p99, told.longest) == (50.0, 99.0, 99.0)
    assert spread([]) is None
