"""Alembic's entry: runs the migrations on the connection that the store has opened."""

from alembic import context

from ovirt_provision.ledger.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    # The store begins the transaction itself, which SQLite's driver would not.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
