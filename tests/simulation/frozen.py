"""Plans as text: a scenario that once failed stays what it was when seeds come to mean something else.

A response's records are kept as the events they carry; what was meant by each follows from that. A text that is one piece
many times over is kept as that piece.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from simulation.plan import Plan, Produce, ResponsePlan, truth_of

FOLDER = Path(__file__).parent / "scenarios"
LONG = 200


def freeze(plan: Plan) -> str:
    """As JSON, a record a line."""
    rest = msgspec.to_builtins(replace(plan, responses=()))
    records = {response.response_id: response.records for response in plan.responses}
    rest["responses"] = [msgspec.to_builtins(replace(response, records=())) for response in plan.responses]
    for each in rest["responses"]:
        each["records"] = each["response_id"]
    text = json.dumps(rest, indent=1)
    for response_id, frozen in records.items():
        lines = ",\n".join(json.dumps(_event(record)) for record in frozen)
        text = text.replace(f'"records": "{response_id}"', f'"records": [\n{lines}\n]')
    return text + "\n"


def thaw(text: str) -> Plan:
    values = json.loads(text)
    responses = values.pop("responses")
    plan = msgspec.convert({**values, "responses": ()}, Plan, strict=False)
    return replace(plan, responses=tuple(_response(each) for each in responses))


def _response(values: dict[str, Any]) -> ResponsePlan:
    records = tuple(_record(each) for each in values.pop("records"))
    return replace(msgspec.convert({**values, "records": ()}, ResponsePlan), records=records)


def _event(record: Produce) -> dict[str, Any]:
    event = json.loads(record.value or b"null")
    text = event.get("text", "")
    if len(text) > LONG and len(piece := text[: (text + text).find(text, 1)]) < len(text):
        event["text"] = {"piece": piece, "times": len(text) // len(piece)}
    key = (record.key or b"").decode()
    values = {"at": record.at, "partition": record.partition, "key": key, "group": record.group, "event": event}
    return values if record.timestamp is None else {**values, "timestamp": record.timestamp}


def _record(values: dict[str, Any]) -> Produce:
    event = values["event"]
    if isinstance(text := event.get("text"), dict):
        event["text"] = text["piece"] * text["times"]
    return Produce(
        at=values["at"],
        partition=values["partition"],
        value=json.dumps(event).encode(),
        key=values["key"].encode(),
        truth=truth_of(event),
        group=values["group"],
        timestamp=values.get("timestamp"),
    )
