"""Some responses without numbers are produced in OpenAI's format: one chunk for each event, so that all else holds as for the others."""

import json
from random import Random
from typing import Any

from simulation.plan import Plan, Produce, ResponsePlan

Headers = tuple[tuple[str, bytes], ...]
NO_HEADERS: Headers = ()
_LONGEST = 60_000
"""Characters of a text that is one event. A longer one is several."""


def ids_of_chunks(plan: Plan) -> frozenset[str]:
    """The responses of the plan that are produced as chunks."""
    random = Random(f"chunks {plan.seed}")
    return frozenset(each.response_id for each in plan.responses if random.random() < 0.7 and _may_be_chunks(each))


def _may_be_chunks(response: ResponsePlan) -> bool:
    """Whether each of its events is one chunk that gives one event."""
    plain = "unnumbered" in response.perturbed and response.perturbed <= {"unnumbered", "error_stop", "split_pair"}
    texts = [record.truth.text for record in response.records if record.truth.event == "token"]
    return plain and all(0 < len(text) < _LONGEST for text in texts)


def as_chunk(record: Produce) -> tuple[bytes, Headers]:
    """Value and headers of the record."""
    event = json.loads(record.value or b"null")
    headers = [("response-id", event["responseId"].encode())]
    if event["event"] == "start":
        headers.append(("channel", event["channel"].encode()))
    return json.dumps(_chunk(event)).encode(), tuple(headers)


def _chunk(event: dict[str, Any]) -> dict[str, Any]:
    match event["event"], event.get("part", "text"):
        case "start", _:
            return _choice({"role": "assistant", "content": ""})
        case "token", "text":
            return _choice({"content": event["text"]})
        case "token", "reasoning":
            return _choice({"reasoning_content": event["text"]})
        case "token", part:
            function = {"name": "f", "arguments": event["text"]}
            return _choice({"tool_calls": [{"index": int(part[-1]), "id": part, "function": function}]})
        case _ if event["reason"] == "error":
            return {"error": event["error"]}
        case _:
            return {**_choice({}, finish_reason=event["reason"]), "usage": {"prompt_tokens": 1}}


def _choice(delta: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, **more}]}
