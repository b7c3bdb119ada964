"""A unit test is named after the module whose behaviour it shows, or after the promise that several modules keep."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
UNIT = Path(__file__).parent
PROMISES = {
    "archive": "ending",
    "cli": "command_line replay_plan",
    "core": "dead_letter_headers forbidden_starts memory_relief odd_times oldest_unsent open_responses ownership"
    " pipeline_groups refused_after_takeover snapshot_times stored_names times_of_records",
    "devtools": "chromium",
    "devtools/emulator": "protocol_history",
    "devtools/faultlab": "direct lab",
    "gateway": "described_streams",
    "guards": "instructions open_response",
    "kafka": "ended_tasks failing_fetches",
    "kafka/record_batches": "room troubles",
    "relay": "committed_offsets idle_lanes lease log_ends no_brokers odd_times reading_responses refused_ranges"
    " relay_leaving relay_silent_group relay_states suspects takeover_of_known waking_a_worker",
    "service": "readiness_of_realtime",
    "topics": "codec_properties importing linear openai_ends openai_properties openai_records openai_tool_calls"
    " response_codec schemas",
    ".": "class_names fakes floors homes_of_helpers imports mirror module_sizes packaging private_members provider_neutral",
}
"""By folder, the tests that are named after a promise."""


def names_a_module(test: Path) -> bool:
    """Whether the product has the module that the path of the test names."""
    module = test.with_name(test.name.removeprefix("test_"))
    places = (ROOT / module, ROOT / "processor" / module)
    return any(place.is_file() or (place.with_suffix("") / "__init__.py").is_file() for place in places)


def test_every_unit_test_is_named_after_a_module_or_a_listed_promise() -> None:
    tests = {path.relative_to(UNIT) for path in UNIT.rglob("test_*.py")}
    listed = {Path(folder) / f"test_{name}.py" for folder, names in PROMISES.items() for name in names.split()}
    assert {path.as_posix() for path in tests if not names_a_module(path)} == {path.as_posix() for path in listed}
