"""The tables of the SQL stores, and the migrations that create them. The only user of Alembic."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    text,
)

from processor.errors import SchemaOutdated

METADATA = MetaData()

RESPONSES = Table(
    "responses",
    METADATA,
    Column("response_id", String, primary_key=True),
    Column("channel", String, nullable=False),
    Column("status", String, nullable=False),
    # 0 or 1, not a boolean: it is compared in a row with the offset.
    Column("finished", SmallInteger, nullable=False),
    Column("log_partition", Integer, nullable=False),
    Column("log_offset", BigInteger, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    # By the writing process's clock; the columns before it have the producer's times.
    Column("stored_at", BigInteger, nullable=False),
    Column("size", Integer, nullable=False),
    Column("sha256", String(64), nullable=False),
    # The record's own bytes: any text, NUL characters too, comes back exactly.
    Column("value", LargeBinary, nullable=False),
)
LISTING = Index("responses_listing", RESPONSES.c.channel, RESPONSES.c.started_at, RESPONSES.c.response_id)
OPEN = Index(
    "responses_open",
    RESPONSES.c.channel,
    RESPONSES.c.started_at,
    sqlite_where=text("finished = 0"),
    postgresql_where=text("finished = 0"),
)
AGE = Index("responses_age", RESPONSES.c.changed_at)

DELETED = Table(
    "deleted_responses",
    METADATA,
    Column("response_id", String, primary_key=True),
    Column("deleted_at", BigInteger, nullable=False),
)
"""Ids that must not come back. Holds no text, and is pruned."""


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    # Set, so that Alembic does not warn that it guesses how to split a list of one.
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def newest_revision() -> str:
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None
    return head


def current_revision(connection: Connection) -> str | None:
    """None: nothing was ever made here."""
    return MigrationContext.configure(connection).get_current_revision()


def upgrade(connection: Connection) -> None:
    command.upgrade(_config(connection), "head")


def check(connection: Connection) -> None:
    """Raises SchemaOutdated with the command to run."""
    current, newest = current_revision(connection), newest_revision()
    if current == newest:
        return
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if current is None or current in known:
        raise SchemaOutdated(
            f"The store's schema is {current or 'empty'}; this program needs {newest}. Run `tokenstream archive migrate`."
        )
    raise SchemaOutdated(
        f"The store's schema is {current}, which this program does not know: a newer tokenstream made it. "
        "Update this one; schemas are not taken back."
    )
