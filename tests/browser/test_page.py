"""The page in Debian's Chromium, headless. Scenarios share a browser and run at once; each test looks at one's outcome."""

import pytest

from support.scenarios import Outcomes, named

ON_THE_DEMO = {
    "streaming": "a prompt is answered as it is written, and proved",
    "folds": "reasoning and tool calls are folded, and open by keyboard",
    "reload": "after a reload in the middle nothing is missing",
    "late_join": "a window opened late has everything",
    "two_windows": "two windows show the same, in the same order",
    "offline": "what was missed while offline is caught up with",
    "discontinuity": "lost continuity is caught up with",
    "hostile": "hostile text is shown as text",
    "stop": "Stop ends the answer, and what was written is kept and proved",
    "keyboard": "everything can be reached by keyboard",
    "faults": "every fault is pressed while models write, and the zeros stay",
}
FED_DIRECTLY = {
    "hundred_at_once": "a hundred responses at once without long frames",
    "bounded_heap": "the heap stays bounded",
    "focus_moves_along": "an answer that moves keeps the focus in it",
    "a_hole": "a hole shows as one until it is filled",
    "quick_start": "the library's quick start works as written",
    "stays_on_the_page": "reading goes on where the browser seemed to leave the page",
    "one_is_wrong": "a response that can't be shown stops no other",
    "accessible": "axe finds nothing, light and dark, wide and narrow",
}


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", named(ON_THE_DEMO))
def test_on_a_whole_deployment(name: str, on_the_demo: Outcomes) -> None:
    print(on_the_demo[name])
    assert on_the_demo[name].get("error") is None, on_the_demo[name]["error"]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", named(FED_DIRECTLY))
def test_fed_with_frames(name: str, fed_directly: Outcomes) -> None:
    print(fed_directly[name])
    assert fed_directly[name].get("error") is None, fed_directly[name]["error"]
