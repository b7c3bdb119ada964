"""Token requests: what is refused, and what capability is granted."""

import base64
import json
from typing import Any

import pytest

from devtools.emulator.auth import Key, Keyring, Refused, authorize_token
from devtools.emulator.tokens import TokenRequests

KEY = Key("app.key", "secret")
LESS = Key("app.less", "secret", {"a": ("publish", "subscribe"), "b:*": ("subscribe",), "c": ("*",)})
NOW = 1_000_000.0


def requests() -> TokenRequests:
    return TokenRequests(Keyring(KEY, LESS))


def signed(key: Key = KEY, **fields: Any) -> dict[str, Any]:
    body = {"keyName": key.name, "timestamp": int(NOW * 1000), "nonce": "n" * 16, **fields}
    values = (body.get(name) for name in ("keyName", "ttl", "capability", "clientId", "timestamp", "nonce"))
    text = "".join(f"{'' if value is None else value}\n" for value in values)
    return {**body, "mac": base64.b64encode(key.sign(text.encode())).decode()}


def refusal(body: dict[str, Any], *, trusted: bool = False) -> int:
    with pytest.raises(Refused) as refused:
        requests().answer(body, NOW, trusted=trusted)
    return refused.value.info.code


def granted(asked: dict[str, list[str]] | None) -> Any:
    fields = {} if asked is None else {"capability": json.dumps(asked)}
    details = requests().answer({"keyName": LESS.name, **fields}, NOW, trusted=True)
    assert authorize_token(Keyring(LESS), details["token"], NOW).capability == {
        resource: tuple(operations) for resource, operations in json.loads(details["capability"]).items()
    }
    return json.loads(details["capability"])


def test_a_signed_request_is_answered_and_a_changed_one_is_not() -> None:
    assert requests().answer(signed(clientId="me"), NOW, trusted=False)["clientId"] == "me"
    assert refusal({**signed(), "clientId": "other"}) == 40101
    assert refusal(signed(Key("app.none", "secret"))) == 40101


def test_a_request_is_taken_while_it_is_fresh_and_once() -> None:
    assert refusal(signed(timestamp=int((NOW - 30 * 60) * 1000))) == 40104
    known = requests()
    known.answer(signed(), NOW, trusted=False)
    with pytest.raises(Refused) as refused:
        known.answer(signed(), NOW + 1, trusted=False)
    assert refused.value.info.code == 40105


@pytest.mark.parametrize("ttl", [-1, "notanumber", 365 * 24 * 3600 * 1000])
def test_a_ttl_that_can_not_be_is_refused_before_the_signature_is_looked_at(ttl: object) -> None:
    assert refusal({"keyName": KEY.name, "ttl": ttl}) == 40000


@pytest.mark.parametrize("capability", ["nonsense", '{"a":["publish_"]}', '{"a":["*","publish"]}', '{"a":[]}'])
def test_a_capability_that_can_not_be_is_refused(capability: str) -> None:
    assert refusal({"keyName": KEY.name, "capability": capability}, trusted=True) == 40000


def test_a_token_has_what_was_asked_for_and_the_key_has() -> None:
    assert granted(None) == {"a": ["publish", "subscribe"], "b:*": ["subscribe"], "c": ["*"]}
    assert granted({"a": ["presence", "subscribe"], "x": ["subscribe"]}) == {"a": ["subscribe"]}
    assert granted({"a": ["*"]}) == {"a": ["publish", "subscribe"]}
    assert granted({"b:1": ["subscribe", "publish"]}) == {"b:1": ["subscribe"]}
    assert granted({"c": ["history"]}) == {"c": ["history"]}


def test_where_the_key_has_nothing_of_it_there_is_no_token() -> None:
    body = {"keyName": LESS.name, "capability": '{"x":["publish"]}'}
    assert refusal(body, trusted=True) == 40160
