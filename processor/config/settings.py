"""The settings: every name, type, default and meaning in one place. `processor.config.loading` reads them.

Each is the environment variable `TOKENSTREAM_<NAME>`, or `TOKENSTREAM_<NAME>_FILE` with a file that has the value, or
is in the file
given by `--config`; the environment wins. A wrong setting stops the program before it touches anything, with one line
per mistake.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import ByteSize, Field, PrivateAttr, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from processor.config.secrets import KnownSecrets
from processor.config.sources import (
    PREFIX,
    read_value,
    stamp,
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
    """The settings, frozen. They read nothing themselves: only `load_settings` decides where values come from.

    A `*_file` attribute without a variable of its own is the file that a value came from, which is read again when it
    changes.
    """

    _secrets: KnownSecrets = PrivateAttr(default_factory=KnownSecrets)

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=PREFIX, enable_decoding=False, hide_input_in_errors=True
    )

    kafka_bootstrap_servers: Servers = Field(default="localhost:9092", description="Bootstrap brokers: `host:port,...`")
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
        default=None, description="CA bundle (PEM); defaults to the system trust store"
    )
    kafka_ssl_certfile: Path | None = Field(default=None, description="Client certificate (PEM)")
    kafka_ssl_keyfile: Path | None = Field(
        default=None, description="Client key (PEM), if it is not in the certificate file"
    )
    kafka_ssl_key_password: SecretStr | None = Field(default=None, description="Password of the client's key")
    kafka_ssl_key_password_file: Path | None = Field(default=None, exclude=True)
    kafka_group_id: str = Field(
        default="tokenstream", description="Consumer group of the relay; the archive appends `-archive`"
    )
    kafka_group_instance_id: str | None = Field(
        default=None,
        description="Static membership, for StatefulSets only: the group waits a session timeout for a stopped member",
    )
    kafka_session_timeout: Seconds = Field(
        default=10.0, description="Seconds without a heartbeat after which the group reassigns a member's partitions"
    )
    kafka_isolation_level: Annotated[Literal["read_committed", "read_uncommitted"], LOWER] = Field(
        default="read_committed",
        description="`read_committed`, or `read_uncommitted`: also tokens of open and aborted transactions",
    )

    tokens_topic: Topic = Field(default="tokenstream.tokens", description="Topic that model services write tokens to")
    responses_topic: Topic = Field(default="tokenstream.responses", description="Topic of response records")
    dead_letters_topic: Topic = Field(
        default="tokenstream.dead-letters", description="Topic of records that cannot be delivered"
    )
    controls_topic: Topic = Field(
        default="tokenstream.controls", description="Topic of cancels, for model services and the relay"
    )
    topics_replication_factor: Annotated[int, Field(ge=1, le=32767)] | None = Field(
        default=None, description="Replication factor that `topics apply` requests; defaults to the broker's"
    )
    tokens_format: Annotated[Literal["auto", "tokenstream", "openai"], LOWER] = Field(
        default="auto", description="Format of token records: `tokenstream`, `openai`, or `auto`, by each record"
    )
    channel_pattern: Pattern | None = Field(
        default=None,
        description="Regular expression (RE2 syntax) that a whole channel name must match; by default any name is allowed",
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
        default=None, description="`host[:port]` of the realtime service; defaults to Ably's"
    )
    ably_tls: bool = Field(default=True, description="Whether connections use TLS")
    ably_client_id: str = Field(
        default="tokenstream", description="`clientId` of every frame; readers ignore messages of other clients"
    )
    ably_max_connections: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=20, description="Largest number of connections of one relay"
    )
    ably_transport: Annotated[Literal["realtime", "rest"], LOWER] = Field(
        default="realtime", description="`realtime`, or `rest`: batches of up to 100 channels per request"
    )
    ably_connection_rate: Rate = Field(
        default=45.0, description="Messages per second on one connection (`rest`: requests per second); 0 sets no limit"
    )
    ably_channel_rate: Rate = Field(default=25.0, description="Messages per second on one channel; 0 sets no limit")
    ably_ephemeral_tokens: bool = Field(
        default=False, description="Keep `token` and `part` frames out of Ably's history"
    )

    store_url: StoreUrl = Field(
        default="sqlite:///tokenstream.db",
        repr=False,
        description="Store of finished responses: `sqlite:///file`, `postgresql://...`, `s3://bucket/prefix`, `gs://...`, `az://...`, `file:///dir`",
    )

    snapshot_interval: Seconds = Field(
        default=5.0, description="Seconds between snapshots of an open response that changes, at most"
    )
    gap_timeout: Seconds = Field(
        default=2.0, description="Seconds to wait for a missing token before its loss is announced"
    )
    idle_timeout: Seconds = Field(
        default=120.0, description="Seconds without an event after which a response is abandoned"
    )
    cancel_timeout: Seconds = Field(
        default=10.0, description="Seconds that a producer has to stop a cancelled response before the relay ends it"
    )
    finished_ttl: Seconds = Field(
        default=300.0, description="Seconds for which a finished response is remembered exactly"
    )
    drain_timeout: Seconds = Field(
        default=20.0, description="Seconds that a stop or a revocation may take to finish what is in flight"
    )
    max_buffered_bytes: Size = Field(
        default=ByteSize(64 * MIB), description="Bytes of unsent text and held early tokens; above it partitions pause"
    )
    max_batch_bytes: Size = Field(
        default=ByteSize(64 * MIB),
        description="Bytes of one decompressed record batch; a larger one becomes one dead letter. On `responses`, `MAX_RESPONSE_BYTES` and 1 MiB are always allowed",
    )
    max_response_bytes: Size = Field(
        default=ByteSize(4 * MIB), description="Bytes of one encoded response record; above it the response fails"
    )
    max_transcript_bytes: Size = Field(
        default=ByteSize(256 * MIB),
        description="Texts of all open responses in memory; above it the idlest are evicted",
    )
    max_open_responses: Count = Field(
        default=50_000, description="Largest number of open responses; above it the idlest are abandoned"
    )
    max_ended_responses: Count = Field(
        default=2_000_000, description="Number of ended responses whose ids are remembered after `FINISHED_TTL`"
    )
    http_host: str = Field(default="0.0.0.0", description="Address that the HTTP server binds to")  # noqa: S104 - probes come from outside the pod's loopback
    http_port: Annotated[int, Field(ge=0, le=MAX_PORT)] = Field(
        default=8484, description="Port of the HTTP server; 0 chooses a free one"
    )
    api_tokens: ApiTokens = Field(
        default=(),
        repr=False,
        description="Bearer tokens for `/v1`: `token=channel-pattern,...`; `token=read:channel-pattern` may not cancel or delete",
    )
    api_tokens_file: Path | None = Field(default=None, exclude=True)
    api_ably_keys: AblyKeys = Field(
        default=(),
        repr=False,
        description="Ably keys that verify JWTs for `/v1`: `app.key:secret,...`; defaults to ABLY_KEY",
    )
    api_ably_keys_file: Path | None = Field(default=None, exclude=True)
    api_public: Public = Field(
        default=False,
        description="Whether anyone may read `/v1`; `loopback`: over loopback connections only. Cancelling and deleting need a credential",
    )
    api_max_requests: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=1000, description="Concurrent requests to `/v1`; above it 503"
    )
    api_max_buffered_bytes: Size = Field(
        default=ByteSize(96 * MIB), description="Bytes of answers of `/v1` in memory; above it 503 until some are sent"
    )
    api_write_timeout: Seconds = Field(
        default=30.0,
        description="Seconds that a client may take for 256 KiB of an answer before its connection is aborted",
    )
    api_cancel_rate: Rate = Field(
        default=100.0,
        description="Cancels per second for one credential, with a burst of ten seconds' worth; above it 429; 0 sets no limit",
    )
    cors_origins: Origins = Field(
        default=(), description="Origins that browsers may call `/v1` from: `https://app.example,...`, or `*`"
    )
    bridge_host: str = Field(
        default="127.0.0.1",
        description="Address that the bridge binds to; any address but loopback needs BRIDGE_TOKENS",
    )
    bridge_port: Annotated[int, Field(ge=0, le=MAX_PORT)] = Field(
        default=8485, description="Port of the bridge; 0 chooses a free one"
    )
    bridge_upstream: HttpUrl | None = Field(
        default=None, description="Address of the model server: `http://localhost:8000/v1`"
    )
    bridge_upstream_key: SecretStr | None = Field(
        default=None, description="Bearer token for the model server, used when the caller sends none"
    )
    bridge_upstream_key_file: Path | None = Field(default=None, exclude=True)
    bridge_upstream_timeout: Seconds = Field(
        default=300.0,
        description="Seconds without a byte from the model server after which its answer counts as broken",
    )
    bridge_tokens: ApiTokens = Field(
        default=(),
        repr=False,
        description="Tokens for the bridge, in header `x-tokenstream-token`: `token=channel-pattern,...`",
    )
    bridge_tokens_file: Path | None = Field(default=None, exclude=True)
    bridge_max_streams: Count = Field(
        default=1000, description="Responses that the bridge writes concurrently; above it 503"
    )
    bridge_max_buffered_bytes: Size = Field(
        default=ByteSize(128 * MIB),
        description="Bytes of requests that the bridge holds until the model server has answered; above it 503",
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], LOWER] = Field(
        default="info", description="`debug`, `info`, `warning` or `error`"
    )
    log_format: Annotated[Literal["json", "console"], LOWER] | None = Field(
        default=None, description="`json` or `console`; defaults to console on a terminal, json elsewhere"
    )
    probe_channel: Channel | None = Field(
        default=None, description="Channel that the api role sends and follows probes on"
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

    @property
    def archive_group_id(self) -> str:
        return f"{self.kafka_group_id}-archive"

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
