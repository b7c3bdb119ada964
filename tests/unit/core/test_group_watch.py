"""A silent group is joined with a new client only where Kafka answers others."""

from processor.core.group_watch import ASK_INTERVAL, GroupWatch

PATIENCE = 60.0


def joins_at(reachable: bool, *, ended: bool = False, seconds: int = 600) -> int | None:
    """The second at which the watch decides to join again. The group is silent from 0 on."""
    watch = GroupWatch(PATIENCE)
    for now in range(seconds):
        if watch.asks(now, silence=now, ended=ended) and watch.answered(now, reachable=reachable, ended=ended):
            return now
    return None


def test_kafka_that_is_away_is_waited_for() -> None:
    assert joins_at(reachable=False) is None


def test_silence_while_kafka_answers_ends_the_client() -> None:
    joined = joins_at(reachable=True)
    assert joined is not None
    assert 2 * PATIENCE < joined <= 2 * PATIENCE + 2 * ASK_INTERVAL


def test_an_ended_client_is_replaced_at_once() -> None:
    assert joins_at(reachable=True, ended=True) == 0


def test_an_ended_client_waits_for_kafka() -> None:
    assert joins_at(reachable=False, ended=True) is None


def test_a_group_that_answers_is_never_asked_about() -> None:
    watch = GroupWatch(PATIENCE)
    assert not any(watch.asks(now, silence=PATIENCE, ended=False) for now in range(100))


def test_questions_keep_their_distance() -> None:
    watch = GroupWatch(PATIENCE)
    assert watch.asks(100.0, silence=61, ended=False)
    assert not watch.asks(100.0 + ASK_INTERVAL / 2, silence=61, ended=False)
    assert watch.asks(100.0 + ASK_INTERVAL, silence=61, ended=False)


def test_an_outage_restarts_the_patience() -> None:
    watch = GroupWatch(PATIENCE)
    assert not watch.answered(0.0, reachable=True, ended=False)
    assert not watch.answered(50.0, reachable=False, ended=False)
    assert not watch.answered(100.0, reachable=True, ended=False)
    assert not watch.answered(100.0 + PATIENCE, reachable=True, ended=False)
    assert watch.answered(101.0 + PATIENCE, reachable=True, ended=False)


def test_a_new_client_gets_the_whole_patience() -> None:
    watch = GroupWatch(PATIENCE)
    watch.answered(0.0, reachable=True, ended=False)
    watch.renewed()
    assert not watch.answered(PATIENCE + 1, reachable=True, ended=False)
