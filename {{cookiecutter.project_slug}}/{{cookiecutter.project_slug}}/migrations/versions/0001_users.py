"""Users."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    if "users" in sa.inspect(op.get_bind()).get_table_names():
        take_over()
        return
    op.create_table(
        "users",
        sa.Column("id", sa.String(length=22), nullable=False),
        sa.Column("username", sa.String(length=64), nullable=False),
        sa.Column("username_key", sa.String(length=64), nullable=False),
        sa.Column("password_hash", sa.String(length=255), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("users_pkey")),
        sa.UniqueConstraint("username_key", name=op.f("users_username_key_key")),
    )


def downgrade() -> None:
    op.drop_table("users")


def take_over() -> None:
    """Go on with the table that the app made by itself before it had migrations."""
    columns = {each["name"] for each in sa.inspect(op.get_bind()).get_columns("users")}
    if columns != {"id", "username", "username_key", "password_hash", "created_at"}:
        raise RuntimeError("there is a table users already, and it is not the one of this app")
    if op.get_bind().dialect.name == "sqlite":
        # Its constraints have no names yet there. PostgreSQL gave them the same ones as above.
        names = {"pk": "%(table_name)s_pkey", "uq": "%(table_name)s_%(column_0_name)s_key"}
        with op.batch_alter_table("users", recreate="always", naming_convention=names):
            pass
