"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = None


def upgrade() -> None:
    """Make deployments, executions with their records, the catalog, and policies."""
    op.create_table(
        "deployments",
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("blueprint", sa.Text, nullable=False),
        sa.Column("blueprint_dir", sa.Text, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("topology", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "runtime_properties",
        sa.Column("deployment", sa.String(128), primary_key=True),
        sa.Column("instance", sa.Text, primary_key=True),
        sa.Column("properties", sa.Text, nullable=False),
    )
    op.create_table(
        "executions",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("deployment", sa.String(128), nullable=False, index=True),
        sa.Column("workflow", sa.Text, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(16), nullable=False, index=True),
        sa.Column("owes", sa.Boolean, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("plan", sa.LargeBinary, nullable=False),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("length", sa.Integer, nullable=False),
        sa.Column("cancel_asked", sa.Text),
    )
    op.create_table(
        "records",
        sa.Column("execution", sa.String(64), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("body", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "durations",
        sa.Column("deployment", sa.String(128), primary_key=True),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "restore_points",
        sa.Column("deployment", sa.String(128), primary_key=True),
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("made_at", sa.Float, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
    )
    op.create_table(
        "proofs",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("deployment", sa.String(128), nullable=False),
        sa.Column("point", sa.String(128), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_index("proofs_of_point", "proofs", ["deployment", "point"])
    op.create_table(
        "policies",
        sa.Column("deployment", sa.String(128), primary_key=True),
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("given", sa.Text, nullable=False),
        sa.Column("since", sa.Float, nullable=False),
        sa.Column("told_at", sa.Float),
    )
    op.create_table(
        "policy_runs",
        sa.Column("deployment", sa.String(128), primary_key=True),
        sa.Column("policy", sa.String(64), primary_key=True),
        sa.Column("due_at", sa.Float, primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
