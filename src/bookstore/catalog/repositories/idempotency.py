"""Idempotency keys: the answer to a request, kept to be given again. In the transaction of the request: what
is rolled back was never asked."""

from __future__ import annotations

from typing import Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from bookstore.catalog import schemas
from bookstore.exceptions import ApiError, FieldError

RETENTION_HOURS: Final = 24

_DELETE_EXPIRED: Final = sa.text(f"""
    DELETE FROM idempotency WHERE (owner, key) IN (
        SELECT owner, key FROM idempotency WHERE created_at < now() - interval '{RETENTION_HOURS} hours'
        ORDER BY created_at LIMIT 100 FOR UPDATE SKIP LOCKED
    )""")  # noqa: S608 - made of a constant
# Who comes second waits here until the first one has committed, or was rolled back.
_CLAIM: Final = sa.text(f"""
    INSERT INTO idempotency (owner, key, request) VALUES (:owner, :key, :request)
    ON CONFLICT (owner, key) DO UPDATE SET created_at = now(), request = :request, answer = NULL
    WHERE idempotency.created_at < now() - interval '{RETENTION_HOURS} hours'
    RETURNING true""")  # noqa: S608 - made of a constant
_READ: Final = sa.text("SELECT request, answer FROM idempotency WHERE owner = :owner AND key = :key")
_STORE: Final = sa.text("UPDATE idempotency SET answer = :answer WHERE owner = :owner AND key = :key")


class IdempotencyRepository:
    """The answers to the requests with one key of one owner (a token's name)."""

    def __init__(self, session: Session, owner: str, key: str) -> None:
        self._session = session
        self._of = {"owner": owner, "key": key}

    def claim(self, request: bytes) -> schemas.StoredResponse | None:
        """The answer that was given to `request` (a digest of it), None where it is asked for the first time.

        Raises ApiError `idempotency_key_reused` where the key belongs to another request.
        """
        self._session.execute(_DELETE_EXPIRED)
        if self._session.scalar(_CLAIM, self._of | {"request": request}):
            return None
        kept = self._session.execute(_READ, self._of).one()
        if kept.request != request:
            detail = f"The key was sent with another request within {RETENTION_HOURS} hours; take a new one."
            raise ApiError("idempotency_key_reused", detail, FieldError(detail, header="Idempotency-Key"))
        return msgspec.json.decode(kept.answer, type=schemas.StoredResponse)

    def store(self, answer: schemas.StoredResponse) -> None:
        """Keeps the answer, until the key is forgotten."""
        self._session.execute(_STORE, self._of | {"answer": msgspec.json.encode(answer)})
