"""Who may use the tables on Postgres: their owner, and Supabase's service_role; not the roles behind its public API."""

from typing import Any, Final

CLOSED_TO: Final = ("anon", "authenticated")
"""Supabase serves every table to these over HTTP, and older projects grant them everything on each new one."""
OPEN_TO: Final = "service_role"


def close(operations: Any, *tables: str) -> None:
    """Let a migration (`operations` is Alembic's `op`) close new tables; SQLite knows no roles."""
    if operations.get_context().dialect.name == "postgresql":
        for table in tables:
            operations.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        operations.execute(block(*tables))


def block(*relations: str) -> str:
    """Give `privileges` as a statement of its own."""
    return f"DO $$\nBEGIN\n    {privileges(*relations)}\nEND $$"


def privileges(*relations: str) -> str:
    """Give the PL/pgSQL that takes tables or views from everybody else, and may run any number of times.

    A role that the database does not have is passed over, so that a plain Postgres takes it too. The revokes are there
    because TRUNCATE does not ask row level security, and because a view may belong to somebody whom it lets pass.
    """
    names = ", ".join(relations)
    lines = [f"REVOKE ALL ON {names} FROM PUBLIC;"]
    lines += [_guarded(role, f"REVOKE ALL ON {names} FROM {role}") for role in CLOSED_TO]
    lines += [_guarded(OPEN_TO, f"GRANT SELECT, INSERT, UPDATE, DELETE ON {names} TO {OPEN_TO}")]
    return "\n    ".join(lines)


def _guarded(role: str, statement: str) -> str:
    return f"IF to_regrole('{role}') IS NOT NULL THEN\n        {statement};\n    END IF;"
