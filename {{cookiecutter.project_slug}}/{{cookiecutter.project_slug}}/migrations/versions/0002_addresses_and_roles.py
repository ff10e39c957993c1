"""Addresses and roles: users may have an e-mail address and a role, and may lack a password."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("users") as users:
        users.add_column(sa.Column("email", sa.String(length=254), nullable=True))
        users.add_column(sa.Column("email_confirmed_at", sa.DateTime(timezone=True), nullable=True))
        users.add_column(sa.Column("role", sa.String(length=20), server_default="", nullable=False))
        users.add_column(sa.Column("logged_in_at", sa.DateTime(timezone=True), nullable=True))
        users.alter_column("password_hash", existing_type=sa.String(length=255), nullable=True)
        users.create_unique_constraint(users.f("users_email_key"), ["email"])
    op.create_table(
        "tokens",
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("purpose", sa.String(length=20), nullable=False),
        sa.Column("user_id", sa.String(length=22), nullable=False),
        sa.Column("email", sa.String(length=254), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("tokens_user_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("hash", name=op.f("tokens_pkey")),
    )
    op.create_index(op.f("tokens_user_id_idx"), "tokens", ["user_id"])


def downgrade() -> None:
    op.drop_table("tokens")
    op.execute("UPDATE users SET password_hash = '' WHERE password_hash IS NULL")
    with op.batch_alter_table("users") as users:
        users.drop_constraint(users.f("users_email_key"), type_="unique")
        users.alter_column("password_hash", existing_type=sa.String(length=255), nullable=False)
        for name in ("email", "email_confirmed_at", "role", "logged_in_at"):
            users.drop_column(name)
