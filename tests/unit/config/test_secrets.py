"""Secrets the log strikes out, and files that are read again."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from processor.config.api import key_source, log_access, token_source
from processor.config.loading import load_settings
from processor.config.secrets import KnownSecrets, WatchedFile
from processor.config.values import read_ably_keys
from support.clocks import Now

KEY = "app.key:a-secret-of-some-length"
OTHER = "app.other:another-secret-of-some-length"


def watched(path: Path, clock: Now) -> WatchedFile[tuple[str, ...]]:
    return WatchedFile("ABLY_KEY", path, read_ably_keys, (KEY,), every=1.0, clock=clock)


async def test_a_changed_file_is_taken_up_with_the_next_look(tmp_path: Path) -> None:
    path, now = tmp_path / "key", Now()
    path.write_text(KEY + "\n")
    file = watched(path, now)
    assert await file() == (KEY,)
    path.write_text(OTHER)
    assert await file() == (KEY,)
    now.seconds = 1.0
    assert await file() == (OTHER,)


@pytest.mark.parametrize("content", [b"", b"app.key", b"app.key:a", b"app.key:", b"nonsense", b"\xff", None])
async def test_a_file_that_cannot_be_used_changes_nothing(tmp_path: Path, content: bytes | None) -> None:
    path, now = tmp_path / "key", Now()
    path.write_text(OTHER)
    file = watched(path, now)
    assert await file() == (OTHER,)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    for now.seconds in (1.0, 2.0):
        assert await file() == (OTHER,)
    path.write_text(KEY)
    now.seconds = 3.0
    assert await file() == (KEY,)


async def test_jwts_are_checked_with_keys_of_their_own_or_the_relay_s() -> None:
    both = load_settings({"TOKENSTREAM_ABLY_KEY": KEY, "TOKENSTREAM_API_ABLY_KEYS": f"{OTHER}, {KEY}"})
    assert await key_source(both)() == (OTHER, KEY)
    assert await key_source(load_settings({"TOKENSTREAM_ABLY_KEY": KEY}))() == (KEY,)
    assert await key_source(load_settings({"TOKENSTREAM_ABLY_KEY": "app.key:short"}))() == ()
    assert await key_source(load_settings({}))() == ()


async def test_a_rotated_token_is_known_to_the_log(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text("the-first-token=*")
    settings = load_settings({"TOKENSTREAM_API_TOKENS_FILE": str(path)})
    path.write_text("the-second-token=read:*")
    assert [token.token for token in await token_source(settings)()] == ["the-second-token"]
    assert set(settings.secrets) == {"the-first-token", "the-second-token"}


def test_every_secret_that_is_given_is_known() -> None:
    settings = load_settings(
        {
            "TOKENSTREAM_ABLY_KEY": KEY,
            "TOKENSTREAM_API_ABLY_KEYS": OTHER,
            "TOKENSTREAM_API_TOKENS": "a-token=*",
            "TOKENSTREAM_KAFKA_SSL_KEY_PASSWORD": "key-password",
            "TOKENSTREAM_KAFKA_SASL_PASSWORD": "sasl-password",
            "TOKENSTREAM_KAFKA_SASL_MECHANISM": "PLAIN",
            "TOKENSTREAM_KAFKA_SASL_USERNAME": "u",
            "TOKENSTREAM_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "TOKENSTREAM_STORE_URL": "postgresql://tokenstream:pa%2Fss@db/x",
        }
    )
    ably = {KEY, OTHER, KEY.partition(":")[2], OTHER.partition(":")[2]}
    others = {"a-token", "key-password", "sasl-password", "pa%2Fss", "pa/ss"}
    assert set(settings.secrets) == ably | others


def test_a_start_without_credentials_off_loopback_says_so() -> None:
    with capture_logs() as said:
        log_access(load_settings({}))
        log_access(load_settings({"TOKENSTREAM_HTTP_HOST": "127.0.0.1"}))
        log_access(load_settings({"TOKENSTREAM_API_PUBLIC": "loopback"}))
        log_access(load_settings({"TOKENSTREAM_API_TOKENS": "short=*,long-enough-to-be-a-token=*"}))
    assert [line["event"] for line in said] == [
        "api_closed",
        *["api_access"] * 4,
        "api_token_short",
    ]
    assert "API_TOKENS" in said[0]["detail"]
    assert [line["readers"] for line in said[1:5]] == [
        "credentials",
        "loopback connections",
        "loopback connections",
        "credentials",
    ]
    assert said[5]["entry"] == 1


def test_what_would_strike_out_ordinary_words_is_no_secret() -> None:
    secrets = KnownSecrets()
    secrets.add("abc", None, "")
    secrets.add_url("postgresql://tokenstream:tokenstream@db/x")
    secrets.add_url("sqlite:///file.db")
    assert list(secrets) == []
