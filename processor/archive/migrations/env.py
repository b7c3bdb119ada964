"""Run by Alembic inside `processor.archive.schema.upgrade`, on the connection that it passes."""

from alembic import context

from processor.archive.schema import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
with context.begin_transaction():
    context.run_migrations()
