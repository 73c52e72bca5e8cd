"""The tables. Every change needs a migration beside it (``migrations/versions``)."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

#: the newest migration; a test compares it with the files. What rows hold is part of it
HEAD: Final = "0002"

METADATA: Final = sa.MetaData()

deployments = sa.Table(
    "deployments",
    METADATA,
    sa.Column("name", sa.String(128), primary_key=True),
    sa.Column("blueprint", sa.Text, nullable=False),
    sa.Column("blueprint_dir", sa.Text, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("topology", sa.LargeBinary, nullable=False),
)
runtime_properties = sa.Table(
    "runtime_properties",
    METADATA,
    sa.Column("deployment", sa.String(128), primary_key=True),
    sa.Column("instance", sa.Text, primary_key=True),
    sa.Column("properties", sa.Text, nullable=False),
)
executions = sa.Table(
    "executions",
    METADATA,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("deployment", sa.String(128), nullable=False, index=True),
    sa.Column("workflow", sa.Text, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    #: its place in the order in which executions were begun, whatever the clock said
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("owes", sa.Boolean, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("plan", sa.LargeBinary, nullable=False),
    #: grows with every take-over; a writer with an older one is refused
    sa.Column("fence", sa.Integer, nullable=False),
    #: how many records there are
    sa.Column("length", sa.Integer, nullable=False),
    sa.Column("cancel_asked", sa.Text),
)
records = sa.Table(
    "records",
    METADATA,
    sa.Column("execution", sa.String(64), primary_key=True),
    #: that of the first of those that were written together
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("body", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)
durations = sa.Table(
    "durations",
    METADATA,
    sa.Column("deployment", sa.String(128), primary_key=True),
    sa.Column("body", sa.LargeBinary, nullable=False),
)
restore_points = sa.Table(
    "restore_points",
    METADATA,
    sa.Column("deployment", sa.String(128), primary_key=True),
    sa.Column("name", sa.String(128), primary_key=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("made_at", sa.Float, nullable=False),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    #: of everything else in the row
    sa.Column("digest", sa.String(64), nullable=False),
)
proofs = sa.Table(
    "proofs",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("deployment", sa.String(128), nullable=False),
    sa.Column("point", sa.String(128), nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Index("proofs_of_point", "deployment", "point"),
)
policies = sa.Table(
    "policies",
    METADATA,
    sa.Column("deployment", sa.String(128), primary_key=True),
    sa.Column("name", sa.String(64), primary_key=True),
    #: as given; its rules are read from it
    sa.Column("given", sa.Text, nullable=False),
    sa.Column("since", sa.Float, nullable=False),
    sa.Column("told_at", sa.Float),
)
policy_runs = sa.Table(
    "policy_runs",
    METADATA,
    sa.Column("deployment", sa.String(128), primary_key=True),
    sa.Column("policy", sa.String(64), primary_key=True),
    #: the key makes sure that a run is nobody else's
    sa.Column("due_at", sa.Float, primary_key=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("body", sa.Text, nullable=False),
)
