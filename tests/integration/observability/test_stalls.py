"""A loop that hangs reports where."""

import contextlib
import itertools
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(120)
PROGRAM = Path(__file__).parent / "blocked_loop.py"
BUSY = Path(__file__).parent / "busy_loop.py"
HELD = Path(__file__).parent / "held_lock.py"
PAUSES = 50


def test_each_stall_is_logged_once_with_the_stacks_and_no_values() -> None:
    done = subprocess.run([sys.executable, PROGRAM], capture_output=True, text=True, check=True, timeout=60)
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert [event["event"] for event in events] == ["event_loop_stalled", "event_loop_resumed"] * 2
    for event in events[::2]:
        assert event["level"] == "error"
        assert "block_the_loop" in event["stacks"]
        assert "what a variable holds" not in event["stacks"].replace('secret_local = "what a variable holds"', "")
    assert all(event["seconds"] >= 1.0 for event in events[1::2])
    figures = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines() if line and not line.startswith("#"))
    assert figures["tokenstream_event_loop_stalls_total"] == "2.0"
    assert float(figures['tokenstream_event_loop_lag_seconds_bucket{le="+Inf"}']) >= 5
    late = float(figures["tokenstream_event_loop_lag_seconds_count"]) - float(
        figures['tokenstream_event_loop_lag_seconds_bucket{le="1.0"}']
    )
    assert late == 2


def test_processes_that_are_paused_again_and_again_go_on() -> None:
    """Stacks of threads that run on may not be read from outside: here each pause is longer than the watch waits."""
    with contextlib.ExitStack() as stack:
        command = [sys.executable, str(BUSY)]
        processes = [stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE)) for _ in range(4)]
        for process in processes:
            stack.callback(process.kill)
            assert process.stdout is not None
            process.stdout.readline()
        for _ in range(PAUSES):
            for number, seconds in ((signal.SIGSTOP, 0.15), (signal.SIGCONT, 0.05)):
                for process in processes:
                    process.send_signal(number)
                time.sleep(seconds)
        for process in processes:
            process.terminate()
        assert [process.wait(30) for process in processes] == [0] * len(processes)


def test_a_process_stuck_inside_one_call_tells_where() -> None:
    with contextlib.ExitStack() as stack:
        process = stack.enter_context(subprocess.Popen([sys.executable, HELD], stderr=subprocess.PIPE, text=True))
        stack.callback(process.kill)
        assert process.stderr is not None
        told = itertools.takewhile(lambda line: "in main" not in line, process.stderr)
        assert any("hold_the_lock" in line for line in told)
        assert process.poll() is None
