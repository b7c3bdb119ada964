"""Responses, and the ids of deleted ones."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "responses",
        sa.Column("response_id", sa.String, primary_key=True),
        sa.Column("channel", sa.String, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("finished", sa.SmallInteger, nullable=False),
        sa.Column("log_partition", sa.Integer, nullable=False),
        sa.Column("log_offset", sa.BigInteger, nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("value", sa.LargeBinary, nullable=False),
    )
    op.create_index("responses_listing", "responses", ["channel", "started_at", "response_id"])
    op.create_index(
        "responses_open",
        "responses",
        ["channel", "started_at"],
        sqlite_where=sa.text("finished = 0"),
        postgresql_where=sa.text("finished = 0"),
    )
    op.create_index("responses_age", "responses", ["changed_at"])
    op.create_table(
        "deleted_responses",
        sa.Column("response_id", sa.String, primary_key=True),
        sa.Column("deleted_at", sa.BigInteger, nullable=False),
    )
