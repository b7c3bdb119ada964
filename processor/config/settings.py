"""The settings: every name, type, default and meaning in one place, and how they are loaded.

Each is the environment variable `TOKENSTREAM_<NAME>`, or `TOKENSTREAM_<NAME>_FILE`, a file that holds the value, or stands in the
file given by `--config`; the environment wins. A wrong setting stops the program before it touches anything, with one line a mistake.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import ByteSize, Field, PrivateAttr, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from processor.config import kafka as config_kafka
from processor.config.mistakes import explain
from processor.config.rules import conflicts
from processor.config.secrets import KnownSecrets
from processor.config.sources import (
    PREFIX,
    FileSource,
    GivenTexts,
    TextSource,
    given_by_environment,
    given_by_file,
    read_value,
    stamp,
    why_unreadable,
)
from processor.config.values import (
    LOWER,
    MAX_PORT,
    UPPER,
    AblyKey,
    AblyKeys,
    ApiTokens,
    Channel,
    Count,
    Endpoint,
    HttpUrl,
    Origins,
    Pattern,
    Public,
    Rate,
    Seconds,
    Servers,
    Size,
    StoreUrl,
    Template,
    Topic,
    read_ably_key,
)
from processor.errors import SettingsError

MIB = 1024 * 1024

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]


class SettingRow(NamedTuple):
    """One line of the table of settings, as people read it."""

    name: str
    default: str
    meaning: str


class Settings(BaseSettings):
    """Frozen. Reads nothing by itself: `load_settings` alone decides where values come from.

    A `*_file` attribute without a variable of its own tells the file a value came from, to be read again when it changes.
    """

    _secrets: KnownSecrets = PrivateAttr(default_factory=KnownSecrets)

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=PREFIX, enable_decoding=False, hide_input_in_errors=True
    )

    kafka_bootstrap_servers: Servers = Field(
        default="localhost:9092", description="Brokers to begin with: `host:port,...`"
    )
    kafka_security_protocol: Annotated[SecurityProtocol, UPPER] = Field(
        default="PLAINTEXT", description="`PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`"
    )
    kafka_sasl_mechanism: Annotated[SaslMechanism, UPPER] | None = Field(
        default=None, description="`PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512` or `OAUTHBEARER`"
    )
    kafka_sasl_username: str | None = Field(default=None, description="User name for `PLAIN` and `SCRAM-*`")
    kafka_sasl_password: SecretStr | None = Field(
        default=None, description="Password; with `OAUTHBEARER` the bearer token itself"
    )
    kafka_sasl_password_file: Path | None = Field(default=None, exclude=True)
    kafka_ssl_cafile: Path | None = Field(
        default=None, description="PEM file of the authorities to trust; none is the system's"
    )
    kafka_ssl_certfile: Path | None = Field(default=None, description="PEM file of the client's certificate")
    kafka_ssl_keyfile: Path | None = Field(
        default=None, description="PEM file of the client's key, where it is not in the former"
    )
    kafka_ssl_key_password: SecretStr | None = Field(default=None, description="Password of the client's key")
    kafka_ssl_key_password_file: Path | None = Field(default=None, exclude=True)
    kafka_group_id: str = Field(
        default="tokenstream", description="Consumer group of the relay; the archive's has `-archive` after it"
    )
    kafka_group_instance_id: str | None = Field(
        default=None,
        description="Static membership, for StatefulSets only: the group waits a session timeout for a stopped member",
    )
    kafka_session_timeout: Seconds = Field(
        default=10.0, description="Seconds after which the group gives a silent member's partitions away"
    )
    kafka_isolation_level: Annotated[Literal["read_committed", "read_uncommitted"], LOWER] = Field(
        default="read_committed", description="Whether tokens of open and aborted transactions are read"
    )

    tokens_topic: Topic = Field(default="tokenstream.tokens", description="Where model services write tokens")
    responses_topic: Topic = Field(
        default="tokenstream.responses", description="Where the relay keeps the newest record of a response"
    )
    dead_letters_topic: Topic = Field(
        default="tokenstream.dead-letters", description="Where what can't be delivered goes"
    )
    controls_topic: Topic = Field(
        default="tokenstream.controls", description="Where cancels are written, for model services and the relay"
    )
    topics_replication_factor: Annotated[int, Field(ge=1, le=32767)] | None = Field(
        default=None, description="Replicas `topics apply` asks for; none is the broker's default"
    )
    tokens_format: Annotated[Literal["auto", "tokenstream", "openai"], LOWER] = Field(
        default="auto", description="Format of token records: `tokenstream`, `openai`, or `auto`, by each record"
    )
    channel_pattern: Pattern | None = Field(
        default=None,
        description="Regular expression (RE2 syntax) that a channel's whole name must match; none allows any",
    )
    channel_template: Template | None = Field(
        default=None,
        description="Channel of an OpenAI-format response without header `channel`: `{key}`, `{response_id}`, `{header:NAME}`; in the bridge also `{user}`",
    )

    realtime: Annotated[Literal["ably", "direct"], LOWER] = Field(
        default="ably",
        description="Transport to readers: `ably`, or `direct`: a topic that gateways serve. `direct` reads no `ABLY_*` setting",
    )
    frames_topic: Topic = Field(
        default="tokenstream.frames", description="Topic that `direct` publishes frames to and gateways read"
    )
    direct_channel_rate: Rate = Field(
        default=50.0, description="Frames per second on one channel with `direct`; 0 sets no limit"
    )
    gateway_max_clients: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=10_000, description="Readers connected to one gateway; above it 503"
    )
    gateway_max_buffered_bytes: Size = Field(
        default=ByteSize(64 * MIB),
        description="Frames that a gateway holds to resume readers; a reader that missed more gets snapshots",
    )

    ably_key: Annotated[SecretStr, AblyKey] | None = Field(
        default=None, description="API key of the Ably app: `app.key:secret`"
    )
    ably_key_file: Path | None = Field(default=None, exclude=True)
    ably_endpoint: Endpoint | None = Field(
        default=None, description="`host[:port]` of the realtime service; none is Ably's own"
    )
    ably_tls: bool = Field(default=True, description="Whether connections are encrypted")
    ably_client_id: str = Field(
        default="tokenstream", description="`clientId` of every frame, by which readers tell them"
    )
    ably_max_connections: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=20, description="Connections of one relay, at most"
    )
    ably_transport: Annotated[Literal["realtime", "rest"], LOWER] = Field(
        default="realtime", description="`realtime`, or `rest`: batches of up to 100 channels a request"
    )
    ably_connection_rate: Rate = Field(
        default=45.0, description="Messages a second on one connection (`rest`: requests a second); 0 is no pace"
    )
    ably_channel_rate: Rate = Field(default=25.0, description="Messages a second on one channel; 0 is no pace")
    ably_ephemeral_tokens: bool = Field(
        default=False, description="Keep `token` and `part` frames out of Ably's history"
    )

    store_url: StoreUrl = Field(
        default="sqlite:///tokenstream.db",
        repr=False,
        description="Store of finished responses: `sqlite:///file`, `postgresql://...`, `s3://bucket/prefix`, `gs://...`, `az://...`, `file:///dir`",
    )

    snapshot_interval: Seconds = Field(
        default=5.0, description="Seconds between records of an open response that changes"
    )
    gap_timeout: Seconds = Field(
        default=2.0, description="Seconds a missing token is waited for before its loss is announced"
    )
    idle_timeout: Seconds = Field(
        default=120.0, description="Seconds without an event after which a response is abandoned"
    )
    cancel_timeout: Seconds = Field(
        default=10.0, description="Seconds a producer has to stop a cancelled response; then the relay ends it"
    )
    finished_ttl: Seconds = Field(default=300.0, description="Seconds a finished response is remembered exactly")
    drain_timeout: Seconds = Field(
        default=20.0, description="Seconds a stop or a revocation may take to finish what is in flight"
    )
    max_buffered_bytes: Size = Field(
        default=ByteSize(64 * MIB), description="Unsent text and held early tokens; above it partitions pause"
    )
    max_batch_bytes: Size = Field(
        default=ByteSize(64 * MIB), description="One decompressed record batch; a larger one becomes one dead letter"
    )
    max_response_bytes: Size = Field(
        default=ByteSize(4 * MIB), description="One encoded response record; above it the response fails"
    )
    max_transcript_bytes: Size = Field(
        default=ByteSize(256 * MIB),
        description="Texts of all open responses in memory; above it the idlest are put away",
    )
    max_open_responses: Count = Field(default=50_000, description="Open responses; above it the idlest are abandoned")
    max_ended_responses: Count = Field(default=2_000_000, description="Ended responses known after `FINISHED_TTL`")
    http_host: str = Field(default="0.0.0.0", description="Address the HTTP server binds to")  # noqa: S104 - probes come from outside the pod's loopback
    http_port: Annotated[int, Field(ge=0, le=MAX_PORT)] = Field(default=8484, description="Its port; 0 is any free one")
    api_tokens: ApiTokens = Field(
        default=(),
        repr=False,
        description="`token=channel-pattern,...` that `/v1` takes as bearer tokens; `token=read:channel-pattern` may not cancel or delete",
    )
    api_tokens_file: Path | None = Field(default=None, exclude=True)
    api_ably_keys: AblyKeys = Field(
        default=(),
        repr=False,
        description="Ably keys that check the JWTs `/v1` takes: `app.key:secret,...`; defaults to ABLY_KEY",
    )
    api_ably_keys_file: Path | None = Field(default=None, exclude=True)
    api_public: Public = Field(
        default=False,
        description="Whether anyone may read from `/v1`; `loopback`: over loopback connections. Cancelling and deleting need a credential",
    )
    api_max_requests: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=1000, description="Requests `/v1` answers at one time; above it 503"
    )
    api_max_buffered_bytes: Size = Field(
        default=ByteSize(96 * MIB), description="Answers of `/v1` in memory; above it 503 until some are sent"
    )
    api_write_timeout: Seconds = Field(
        default=30.0, description="Seconds a client may take for 256 KiB of an answer; then its connection is aborted"
    )
    api_cancel_rate: Rate = Field(
        default=100.0,
        description="Cancels a second for one credential, ten seconds' worth at once; above it 429; 0 is no limit",
    )
    cors_origins: Origins = Field(
        default=(), description="Origins browsers may call `/v1` from: `https://app.example,...`, or `*`"
    )
    bridge_host: str = Field(
        default="127.0.0.1", description="Address the bridge binds to; one that is not loopback needs BRIDGE_TOKENS"
    )
    bridge_port: Annotated[int, Field(ge=0, le=MAX_PORT)] = Field(
        default=8485, description="Its port; 0 is any free one"
    )
    bridge_upstream: HttpUrl | None = Field(
        default=None, description="Model server the bridge calls: `http://localhost:8000/v1`"
    )
    bridge_upstream_key: SecretStr | None = Field(
        default=None, description="Bearer token for the model server, for callers that send none"
    )
    bridge_upstream_key_file: Path | None = Field(default=None, exclude=True)
    bridge_upstream_timeout: Seconds = Field(
        default=300.0, description="Seconds the model server may send nothing; then its answer counts as broken off"
    )
    bridge_tokens: ApiTokens = Field(
        default=(),
        repr=False,
        description="`token=channel-pattern,...` that the bridge takes in header `x-tokenstream-token`",
    )
    bridge_tokens_file: Path | None = Field(default=None, exclude=True)
    bridge_max_streams: Count = Field(default=1000, description="Responses the bridge writes at one time; above it 503")
    log_level: Annotated[Literal["debug", "info", "warning", "error"], LOWER] = Field(
        default="info", description="`debug`, `info`, `warning` or `error`"
    )
    log_format: Annotated[Literal["json", "console"], LOWER] | None = Field(
        default=None, description="`json` or `console`; none is console on a terminal, json elsewhere"
    )
    probe_channel: Channel | None = Field(
        default=None, description="Channel the api role may subscribe to, to see that frames arrive"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is the library's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)

    @classmethod
    def describe(cls) -> tuple[SettingRow, ...]:
        """Returns every setting, in the order of the table people read: name without prefix, default, meaning."""
        return tuple(
            SettingRow(name.upper(), _show(name, field.default), field.description or "")
            for name, field in cls.model_fields.items()
            if not field.exclude
        )

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Returns the names of all settings, without prefix."""
        return tuple(name.upper() for name, field in cls.model_fields.items() if not field.exclude)

    def kafka_client_options(self) -> dict[str, Any]:
        """Keyword arguments for every aiokafka client: servers and security. Reads secrets and certificates anew at each call.

        Raises SettingsError where a file is unreadable or holds no certificate or key.
        """
        options: dict[str, Any] = {
            "bootstrap_servers": self.kafka_bootstrap_servers,
            "security_protocol": self.kafka_security_protocol,
        }
        if self.kafka_security_protocol.endswith("SSL"):
            options["ssl_context"] = config_kafka.ssl_context(self)
        if self.kafka_security_protocol.startswith("SASL"):
            options["sasl_mechanism"] = self.kafka_sasl_mechanism
            if self.kafka_sasl_mechanism == "OAUTHBEARER":
                options["sasl_oauth_token_provider"] = config_kafka.bearer(self)
            else:
                options["sasl_plain_username"] = self.kafka_sasl_username
                options["sasl_plain_password"] = self.current_secret("kafka_sasl_password")
        return options

    def kafka_credentials(self) -> object:
        """Another when a secret or certificate for Kafka changed; not OAUTHBEARER's token, which every connection reads."""
        password = None if self.kafka_sasl_mechanism == "OAUTHBEARER" else self.kafka_sasl_password_file
        certificates = self.kafka_ssl_cafile, self.kafka_ssl_certfile, self.kafka_ssl_keyfile
        files = password, self.kafka_ssl_key_password_file, *certificates
        return tuple(stamp(path) for path in files if path is not None)

    def current_secret(self, name: Literal["ably_key", "kafka_sasl_password", "kafka_ssl_key_password"]) -> str | None:
        """The secret as its file has it now, or as it was given. Raises SettingsError where the file can't be read any more."""
        path: Path | None = getattr(self, f"{name}_file")
        secret: SecretStr | None = getattr(self, name)
        if path is None:
            return None if secret is None else secret.get_secret_value()
        try:
            text = read_value(path)
        except (OSError, ValueError) as error:
            raise SettingsError([f"{PREFIX}{name.upper()}_FILE: can't read {path}: {type(error).__name__}"]) from error
        return self._checked_key(text) if name == "ably_key" else self._noted(text)

    def _checked_key(self, text: str) -> str:
        self.secrets.add_ably_key(text)
        try:
            return read_ably_key(text)
        except ValueError as error:
            raise SettingsError([f"{PREFIX}ABLY_KEY_FILE: {error}"]) from None

    def _noted(self, text: str) -> str:
        self.secrets.add(text)
        return text

    @property
    def secrets(self) -> KnownSecrets:
        """Every secret given or read again since, for the log to strike out."""
        return self._secrets

    def model_post_init(self, context: Any, /) -> None:
        """Notes the secrets that were given."""
        del context
        for secret in (self.kafka_sasl_password, self.kafka_ssl_key_password, self.bridge_upstream_key):
            self._secrets.add(None if secret is None else secret.get_secret_value())
        for key in (*self.api_ably_keys, self.ably_key.get_secret_value() if self.ably_key else ""):
            self._secrets.add_ably_key(key)
        self._secrets.add(*(token.token for token in (*self.api_tokens, *self.bridge_tokens)))
        self._secrets.add_url(self.store_url)

    @property
    def api_is_open(self) -> bool:
        """Whether `/v1` can be read without credentials."""
        return bool(self.api_public) or self.http_host in ("127.0.0.1", "::1", "localhost")


def load_settings(
    environ: Mapping[str, str], config_file: Path | None = None, *, require_ably: bool = False
) -> Settings:
    """Settings from `environ` over `config_file`. Raises SettingsError with every mistake found, a line each, no secret shown."""
    names = frozenset(Settings.names())
    values: dict[str, Any] = {}
    mistakes: list[str] = []
    for given in _given(environ, config_file, names, mistakes):
        mistakes += given.mistakes(names)
        files = FileSource(Settings, given)
        found = {**TextSource(Settings, given)(), **files()}
        mistakes += files.mistakes
        # A value replaces an earlier one together with the file that one came from.
        values = {name: value for name, value in values.items() if name.removesuffix("_file") not in found} | found
    if str(values.get("realtime")).lower() == "direct":
        values = {name: value for name, value in values.items() if not name.startswith("ably_")}
        mistakes = [line for line in mistakes if not line.startswith(f"{PREFIX}ABLY_")]
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        mistakes += explain(error, Settings.model_fields)
    else:
        told = tuple(line.partition(": ")[0].removesuffix("_FILE") for line in mistakes)
        mistakes += [line for line in conflicts(settings, require_ably=require_ably) if not line.startswith(told)]
        if not mistakes:
            return settings
    raise SettingsError(mistakes) from None


def _given(
    environ: Mapping[str, str], config_file: Path | None, names: frozenset[str], mistakes: list[str]
) -> Iterator[GivenTexts]:
    """Yields what is given, the strongest last. Adds to `mistakes` where the file cannot be used."""
    if config_file is not None:
        try:
            yield given_by_file(config_file)
        except (OSError, ValueError) as error:
            mistakes.append(f"--config: can't read {config_file}: {why_unreadable(error)}")
    yield given_by_environment(environ, names)


def _show(name: str, default: object) -> str:
    match default:
        case None | ():
            return "none"
        case bool():
            return str(default).lower()
        case int() if name.endswith("_bytes"):
            return f"{default // MIB} MiB"
        case float():
            return f"{default:g}"
        case _:
            return str(default)
