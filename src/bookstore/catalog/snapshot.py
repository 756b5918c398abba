"""What PostgreSQL can see now, as a text: while it is the same, every query gives the same answer."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

# Transactions are numbered from one start of a server to the next crash of it; the start tells those apart. They
# are all databases' of the server; the name tells two of them apart that the service is pointed at in turn.
SQL: Final = "(SELECT pg_current_snapshot()::text || pg_postmaster_start_time()::text || current_database())"

STATE: Final = sa.literal_column(SQL, sa.Text()).label("state")
"""Of the snapshot that the statement reads."""
