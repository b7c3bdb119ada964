"""The environment overrides a file, and each wrong setting is reported in a line with its name."""

import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from processor.config.kafka import responses_batch_bytes
from processor.config.loading import load_settings
from processor.config.settings import Settings
from processor.config.values import ApiToken
from processor.errors import SettingsError
from support.settings import KEY, SASL, loaded, mistakes, mistakes_of_a_relay
from topics.codec import Decoder, Invalid
from topics.records import Reason


def test_nothing_given_is_the_defaults() -> None:
    settings = loaded()
    assert settings == Settings()
    assert (settings.kafka_bootstrap_servers, settings.kafka_group_id) == ("localhost:9092", "tokenstream")
    assert (settings.tokens_topic, settings.dead_letters_topic) == ("tokenstream.tokens", "tokenstream.dead-letters")
    assert (settings.snapshot_interval, settings.gap_timeout, settings.idle_timeout) == (5, 2, 120)
    assert (settings.max_buffered_bytes, settings.max_response_bytes) == (64 * 2**20, 4 * 2**20)
    assert (settings.http_host, settings.http_port, settings.ably_key) == ("0.0.0.0", 8484, None)


def test_the_table_has_every_setting_that_is_read() -> None:
    rows = {row.name: row.default for row in Settings.describe()}
    assert set(rows) == set(Settings.names())
    assert rows["MAX_BUFFERED_BYTES"] == "64 MiB"
    assert rows["SNAPSHOT_INTERVAL"] == "5"
    assert rows["ABLY_TLS"] == "true"
    assert rows["CORS_ORIGINS"] == rows["ABLY_KEY"] == "none"
    assert not [row for row in Settings.describe() if not row.meaning]
    assert not [name for name in rows if name.endswith("_PASSWORD_FILE")]


def test_values_are_read_by_their_type() -> None:
    settings = loaded(
        ABLY_KEY=KEY,
        ABLY_TLS="no",
        ABLY_CHANNEL_RATE="0",
        ABLY_ENDPOINT="localhost:8081",
        API_TOKENS="abc===chat:*, other=*",
        CHANNEL_PATTERN=r"chat:\d+",
        CORS_ORIGINS="https://a.example, http://localhost:3000",
        FINISHED_TTL="0.5",
        KAFKA_BOOTSTRAP_SERVERS="a:9092, b:9093",
        KAFKA_ISOLATION_LEVEL="READ_UNCOMMITTED",
        LOG_LEVEL="DEBUG",
        MAX_BUFFERED_BYTES="4 MiB",
        MAX_RESPONSE_BYTES="65536",
        MAX_TRANSCRIPT_BYTES="1.5GiB",
        TOPICS_REPLICATION_FACTOR="3",
    )
    assert settings.ably_key is not None
    assert settings.ably_key.get_secret_value() == KEY
    assert (settings.ably_tls, settings.ably_channel_rate, settings.ably_endpoint) == (False, 0, "localhost:8081")
    assert settings.api_tokens == (ApiToken("abc==", "chat:*"), ApiToken("other", "*"))
    assert settings.channel_pattern is not None
    assert settings.channel_pattern.fullmatch("chat:42")
    assert settings.cors_origins == ("https://a.example", "http://localhost:3000")
    assert (settings.finished_ttl, settings.log_level) == (0.5, "debug")
    assert (settings.kafka_bootstrap_servers, settings.kafka_isolation_level) == ("a:9092,b:9093", "read_uncommitted")
    assert (settings.max_buffered_bytes, settings.max_response_bytes) == (4 * 2**20, 65536)
    assert (settings.max_transcript_bytes, settings.topics_replication_factor) == (1536 * 2**20, 3)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("SNAPSHOT_INTERVAL", "abc", 'must be a number, not "abc" (Seconds between snapshots of an open response that changes, at most)'),
        ("GAP_TIMEOUT", "0", 'must be above 0, not "0" (Seconds to wait for a missing token before its loss is announced)'),
        ("IDLE_TIMEOUT", "inf", 'must be a number, not "inf" (Seconds without an event after which a response is abandoned)'),
        ("ABLY_CHANNEL_RATE", "-1", 'must be at least 0, not "-1" (Messages per second on one channel; 0 sets no limit)'),
        ("MAX_BUFFERED_BYTES", "64 XB", 'must be a number of bytes, as 1048576 or 64MiB, not "64 XB"'),
        ("MAX_BUFFERED_BYTES", "0", 'must be above 0, not "0" (Bytes of unsent text and held early tokens; above it partitions pause)'),
        ("HTTP_PORT", "65536", 'must be at most 65535, not "65536" (Port of the HTTP server; 0 chooses a free one)'),
        ("HTTP_PORT", "80.5", 'must be a whole number, not "80.5" (Port of the HTTP server; 0 chooses a free one)'),
        ("TOPICS_REPLICATION_FACTOR", "0", 'must be at least 1, not "0" (Replication factor that `topics apply` requests; defaults to the broker\'s)'),
        ("ABLY_TLS", "maybe", 'must be true or false, not "maybe"'),
        ("LOG_FORMAT", "xml", 'must be json or console, not "xml"'),
        ("KAFKA_SECURITY_PROTOCOL", "TLS", 'must be PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL, not "TLS"'),
        ("KAFKA_BOOTSTRAP_SERVERS", "localhost", 'must be host:port, or several with commas between, not "localhost"'),
        ("TOKENS_TOPIC", "a b", 'must be a topic name, 1 to 249 of A-Z a-z 0-9 . _ -, not "a b"'),
        ("ABLY_ENDPOINT", "https://x", 'must be host or host:port, not "https://x"'),
        ("PROBE_CHANNEL", "[x]", 'must be a channel name, not beginning with [ or :, not "[x]"'),
        ("CORS_ORIGINS", "a.example", 'must be origins as https://app.example, with commas between, or *, not "a.example"'),
    ],
)  # fmt: skip
def test_a_wrong_value_is_told_in_a_line_that_names_the_variable(name: str, text: str, told: str) -> None:
    assert mistakes(**{name: text}) == [f"TOKENSTREAM_{name}: {told}"]


def test_a_pattern_that_is_none_is_told_with_the_place() -> None:
    (line,) = mistakes(CHANNEL_PATTERN="chat:(")
    assert line == (
        "TOKENSTREAM_CHANNEL_PATTERN: must be a regular expression in RE2 syntax (no look-around, no back-references), "
        'and "chat:(" is not: missing ): chat:('
    )


@pytest.mark.parametrize("pattern", ["(?=a).*", "(?<!a)b", r"(a)\1"])
def test_a_pattern_that_could_backtrack_is_refused(pattern: str) -> None:
    (line,) = mistakes(CHANNEL_PATTERN=pattern)
    assert line.startswith("TOKENSTREAM_CHANNEL_PATTERN: must be a regular expression in RE2 syntax")


@pytest.mark.parametrize("pattern", ["(a+)+", "(a|a)*", "(a|aa)+", "(.*a){20}", "a*a*a*a*a*a*a*b", "(.*)*x"])
def test_no_pattern_lets_a_producer_stop_the_relay(pattern: str) -> None:
    settings = loaded(CHANNEL_PATTERN=pattern)
    decoder = Decoder(settings.channel_pattern)
    value = b'{"event":"start","responseId":"r","channel":"' + b"a" * 1023 + b'!"}'
    began = time.process_time()
    verdict = decoder.decode(value)
    assert time.process_time() - began < 10  # backtracking takes years
    assert isinstance(verdict, Invalid)
    assert verdict.reason is Reason.CHANNEL_FORBIDDEN


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ABLY_KEY", "hunter22"),
        ("STORE_URL", "mysql://u:hunter22@h/db"),
        ("API_TOKENS", "hunter22"),
        ("STORE_URL", "hunter22"),
    ],
)
def test_a_secret_is_never_shown(name: str, text: str) -> None:
    (line,) = mistakes(**{name: text})
    assert line.startswith(f"TOKENSTREAM_{name}: must be")
    assert "hunter22" not in line


def test_settings_shown_show_no_secret() -> None:
    settings = loaded(ABLY_KEY="a.b:hunter22", API_TOKENS="hunter22=*", STORE_URL="postgresql://u:hunter22@h/db")
    assert "hunter22" not in f"{settings!r} {settings}"


def test_every_mistake_is_told_at_once() -> None:
    found = mistakes(SNAPSHOT_INTERVAL="x", HTTP_PORT="x", NO_SUCH="x", LOG_LEVEL="x")
    assert {line.partition(":")[0] for line in found} == {
        "TOKENSTREAM_SNAPSHOT_INTERVAL",
        "TOKENSTREAM_HTTP_PORT",
        "TOKENSTREAM_NO_SUCH",
        "TOKENSTREAM_LOG_LEVEL",
    }


def test_a_value_of_several_lines_makes_one_line() -> None:
    assert len(mistakes(LOG_LEVEL="a\nb")) == 1


def test_an_unknown_setting_is_told_with_the_nearest() -> None:
    assert mistakes(SNAPSHOT_INTERVL="5") == [
        "TOKENSTREAM_SNAPSHOT_INTERVL: is not a setting; did you mean TOKENSTREAM_SNAPSHOT_INTERVAL?"
    ]
    assert mistakes(QQQQ="5") == ["TOKENSTREAM_QQQQ: is not a setting"]


def test_what_kubernetes_adds_for_services_is_no_mistake() -> None:
    loaded(
        SERVICE_HOST="10.0.0.1",
        SERVICE_PORT="8484",
        SERVICE_PORT_HTTP="8484",
        PORT="tcp://10.0.0.1:8484",
        PORT_8484_TCP="tcp://10.0.0.1:8484",
        PORT_8484_TCP_PROTO="tcp",
        PORT_8484_TCP_PORT="8484",
        PORT_8484_TCP_ADDR="10.0.0.1",
        API_SERVICE_HOST="10.0.0.2",
        API_PORT="tcp://10.0.0.2:8484",
    )
    assert mistakes(PORT="8484")[0].startswith("TOKENSTREAM_PORT: is not a setting")


def test_an_empty_value_counts_as_not_given() -> None:
    assert loaded(ABLY_KEY="", SNAPSHOT_INTERVAL=" ", CHANNEL_PATTERN="") == Settings()


def test_variables_of_others_are_left_alone() -> None:
    assert load_settings({"PATH": "/bin", "TOKENSTREAMER": "x"}) == Settings()


def test_the_key_is_wanted_only_where_it_is_needed() -> None:
    assert loaded().ably_key is None
    assert mistakes_of_a_relay() == [
        "TOKENSTREAM_ABLY_KEY: must be set: the key of the Ably app, app.key:secret. REALTIME=direct needs none"
    ]


def test_any_setting_may_come_from_a_file(tmp_path: Path) -> None:
    key, interval = tmp_path / "key", tmp_path / "interval"
    key.write_text(KEY + "\n")
    interval.write_text("7\r\n")
    settings = loaded(ABLY_KEY_FILE=str(key), SNAPSHOT_INTERVAL_FILE=str(interval))
    assert settings.ably_key is not None
    assert settings.ably_key.get_secret_value() == KEY
    assert (settings.ably_key_file, settings.snapshot_interval) == (key, 7)
    key.write_text("app.key:another")
    assert settings.current_secret("ably_key") == "app.key:another"
    key.write_text("app.key")
    with pytest.raises(SettingsError, match="TOKENSTREAM_ABLY_KEY_FILE: must be an Ably API key"):
        settings.current_secret("ably_key")
    key.unlink()
    with pytest.raises(SettingsError, match="TOKENSTREAM_ABLY_KEY_FILE: can't read"):
        settings.current_secret("ably_key")


def test_a_file_that_cannot_be_read_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / "none"
    assert mistakes_of_a_relay(ABLY_KEY_FILE=str(path)) == [
        f"TOKENSTREAM_ABLY_KEY_FILE: can't read {path}: No such file or directory"
    ]
    path.write_bytes(b"\xff")
    assert mistakes(ABLY_KEY_FILE=str(path)) == [
        f"TOKENSTREAM_ABLY_KEY_FILE: can't read {path}: it is not text in UTF-8"
    ]


def test_a_value_and_a_file_for_it_are_one_too_many(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(KEY)
    assert mistakes(ABLY_KEY=KEY, ABLY_KEY_FILE=str(path)) == [
        "TOKENSTREAM_ABLY_KEY: is given together with TOKENSTREAM_ABLY_KEY_FILE; keep one"
    ]


def test_the_environment_wins_over_a_file_of_lines(tmp_path: Path) -> None:
    path = tmp_path / "settings.env"
    path.write_text(
        "# settings\n\nTOKENSTREAM_HTTP_PORT=9000\nexport GAP_TIMEOUT='3'\nkafka_group_id = \"mine\"\nABLY_CLIENT_ID=a=b\n"
    )
    settings = loaded(path, HTTP_PORT="9001")
    assert (settings.http_port, settings.gap_timeout, settings.kafka_group_id) == (9001, 3, "mine")
    assert settings.ably_client_id == "a=b"


def test_nothing_in_a_value_of_a_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "settings.env"
    path.write_text("KAFKA_GROUP_ID='a${HOME}$x'\nABLY_CLIENT_ID=a#b\n")
    settings = loaded(path)
    assert (settings.kafka_group_id, settings.ably_client_id) == ("a${HOME}$x", "a#b")


def test_the_environment_wins_over_a_toml_file(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(
        'http_port = 9000\ngap_timeout = 0.5\nably_tls = false\ncors_origins = ["https://a.example", "https://b.example"]\n'
        'TOKENSTREAM_MAX_BUFFERED_BYTES = "1 MiB"\n'
    )
    settings = loaded(path, HTTP_PORT="9001")
    assert (settings.http_port, settings.gap_timeout, settings.ably_tls) == (9001, 0.5, False)
    assert settings.cors_origins == ("https://a.example", "https://b.example")
    assert settings.max_buffered_bytes == 2**20


def test_a_value_of_the_environment_wins_over_a_files_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("app.key:of-the-file")
    path = tmp_path / "settings.env"
    path.write_text(f"ABLY_KEY_FILE={tmp_path / 'key'}\n")
    settings = loaded(path, ABLY_KEY=KEY)
    assert settings.current_secret("ably_key") == KEY
    assert settings.ably_key_file is None


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("s.env", "HTTP_PORT\n", "line 1 is not NAME=value"),
        ("s.toml", "http_port = \n", "Invalid value"),
        ("s.toml", "[http]\nport = 1\n", "http is neither a text, a number, a truth value nor a list"),
    ],
)
def test_a_broken_configuration_file_is_told(tmp_path: Path, name: str, text: str, told: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    (line,) = mistakes(path)
    assert line.startswith(f"--config: can't read {path}: ")
    assert told in line


def test_a_broken_configuration_file_hides_no_other_mistake(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text("http_port = \n")
    lines = mistakes(path, HTTP_PROT="1", GAP_TIMEOUT="soon", ABLY_KEY_FILE=str(tmp_path / "none"))
    assert [line.partition(": ")[0] for line in lines] == [
        "--config",
        "TOKENSTREAM_HTTP_PROT",
        "TOKENSTREAM_ABLY_KEY_FILE",
        "TOKENSTREAM_GAP_TIMEOUT",
    ]


def test_a_mistake_in_the_configuration_file_names_it(tmp_path: Path) -> None:
    path = tmp_path / "s.env"
    path.write_text("HTTP_PROT=1\n")
    assert mistakes(path) == [f"{path}: TOKENSTREAM_HTTP_PROT: is not a setting; did you mean TOKENSTREAM_HTTP_PORT?"]
    assert mistakes(tmp_path / "none")[0].startswith("--config: can't read")


def test_settings_never_change() -> None:
    settings = Settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.http_port = 1
    assert settings.http_port == 8484


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, ["KAFKA_SASL_MECHANISM"]),
        (SASL, ["KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD"]),
        ({"KAFKA_SASL_MECHANISM": "PLAIN"}, ["KAFKA_SASL_MECHANISM"]),
        ({"KAFKA_SSL_CAFILE": "/x"}, ["KAFKA_SECURITY_PROTOCOL"]),
        ({"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_KEYFILE": "/x"}, ["KAFKA_SSL_CERTFILE"]),
        ({"RESPONSES_TOPIC": "tokenstream.tokens"}, ["RESPONSES_TOPIC"]),
    ],
)
def test_settings_that_do_not_go_together_are_told(given: dict[str, str], names: list[str]) -> None:
    assert [line.partition(":")[0] for line in mistakes(**given)] == [f"TOKENSTREAM_{name}" for name in names]


@pytest.mark.parametrize(
    ("host", "public", "is_open"),
    [("0.0.0.0", "false", False), ("127.0.0.1", "false", True), ("::1", "false", True), ("0.0.0.0", "true", True)],
)
def test_the_api_is_open_on_loopback_or_when_told_so(host: str, public: str, is_open: bool) -> None:
    assert loaded(HTTP_HOST=host, API_PUBLIC=public).api_is_open is is_open


def test_the_transport_direct_needs_and_reads_no_setting_of_ably() -> None:
    settings = load_settings(
        {"TOKENSTREAM_REALTIME": "direct", "TOKENSTREAM_ABLY_KEY": "no key", "TOKENSTREAM_ABLY_TLS": "perhaps"},
        require_ably=True,
    )
    assert settings.realtime == "direct"
    assert settings.ably_key is None
    assert (settings.frames_topic, settings.direct_channel_rate) == ("tokenstream.frames", 50)


@pytest.mark.parametrize("realtime", ["direct", "Direct"])
@pytest.mark.parametrize("given", [("ABLY_KEY", "no key"), ("ABLY_KEY_FILE", "/nowhere/key")])
def test_no_setting_of_ably_can_be_wrong_with_direct(realtime: str, given: tuple[str, str]) -> None:
    name, text = given
    settings = load_settings({"TOKENSTREAM_REALTIME": realtime, f"TOKENSTREAM_{name}": text})
    assert (settings.realtime, settings.ably_key) == ("direct", None)


def test_a_probe_needs_ably() -> None:
    (mistake,) = mistakes(REALTIME="direct", PROBE_CHANNEL="probe")
    assert mistake.startswith("TOKENSTREAM_PROBE_CHANNEL: must not be set with REALTIME=direct")


def test_the_frames_topic_is_one_of_its_own() -> None:
    (mistake,) = mistakes(FRAMES_TOPIC="tokenstream.tokens")
    assert mistake.startswith("TOKENSTREAM_FRAMES_TOPIC: must be a topic of its own")


def test_a_bridge_off_loopback_needs_tokens() -> None:
    (line,) = mistakes(BRIDGE_HOST="0.0.0.0")
    assert line.startswith("TOKENSTREAM_BRIDGE_TOKENS: must be set where BRIDGE_HOST is not loopback")
    settings = loaded(BRIDGE_HOST="0.0.0.0", BRIDGE_TOKENS="a-token=chat:*")
    assert settings.bridge_tokens == (ApiToken("a-token", "chat:*"),)
    assert loaded(BRIDGE_HOST="::1").bridge_tokens == ()


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://h/v1", "http://", "http://u:p@h/v1", "http://h/v1?a=b"])
def test_the_model_server_is_an_http_url(url: str) -> None:
    (line,) = mistakes(BRIDGE_UPSTREAM=url)
    assert line.startswith("TOKENSTREAM_BRIDGE_UPSTREAM: must be a URL")
    assert loaded(BRIDGE_UPSTREAM="http://h:8000/v1/").bridge_upstream == "http://h:8000/v1"


def test_a_channel_template_has_known_placeholders_alone() -> None:
    assert loaded(CHANNEL_TEMPLATE="chat:{key}").channel_template is not None
    (line,) = mistakes(CHANNEL_TEMPLATE="chat:{nobody}")
    assert line.startswith("TOKENSTREAM_CHANNEL_TEMPLATE: must be a channel name with placeholders")


def test_the_bridges_secrets_are_struck_out() -> None:
    settings = loaded(BRIDGE_UPSTREAM_KEY="sk-hunter22", BRIDGE_TOKENS="hunter2222=*")
    assert "hunter" not in repr(settings)
    assert {"sk-hunter22", "hunter2222"} <= set(settings.secrets)


def test_batches_of_responses_may_have_what_relays_write_whatever_the_bound_of_tokens_is() -> None:
    for batches, responses in (("1MiB", "100MiB"), ("64MiB", "4MiB"), ("64MiB", "64MiB")):
        settings = loaded(MAX_BATCH_BYTES=batches, MAX_RESPONSE_BYTES=responses)
        assert responses_batch_bytes(settings) >= settings.max_batch_bytes
        assert responses_batch_bytes(settings) > settings.max_response_bytes
