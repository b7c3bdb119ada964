"""Adds the time when each record was stored. Existing records get the time of this migration."""

import time

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    # The default stays: processes of the version before may insert rows until they are replaced.
    migrated_at = sa.text(str(int(time.time() * 1000)))
    op.add_column("responses", sa.Column("stored_at", sa.BigInteger, nullable=False, server_default=migrated_at))
