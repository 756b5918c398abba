"""Idempotency keys: stores the response to a request so that it can be replayed.

Works in the transaction of the request, so a rollback also releases the key."""

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
# A concurrent request with the same key waits here until the first one has committed or rolled back.
_CLAIM: Final = sa.text(f"""
    INSERT INTO idempotency (owner, key, request) VALUES (:owner, :key, :request)
    ON CONFLICT (owner, key) DO UPDATE SET created_at = now(), request = :request, answer = NULL
    WHERE idempotency.created_at < now() - interval '{RETENTION_HOURS} hours'
    RETURNING true""")  # noqa: S608 - made of a constant
_READ: Final = sa.text("SELECT request, answer FROM idempotency WHERE owner = :owner AND key = :key")
_STORE: Final = sa.text("UPDATE idempotency SET answer = :answer WHERE owner = :owner AND key = :key")


class IdempotencyRepository:
    """The stored response for one idempotency `key` of one `owner`, the name of a token."""

    def __init__(self, session: Session, owner: str, key: str) -> None:
        self._session = session
        self._parameters = {"owner": owner, "key": key}

    def claim(self, request: bytes) -> schemas.StoredResponse | None:
        """Return the stored response to `request` (a digest), or None and claim the key if the request is new.

        Raises ApiError `idempotency_key_reused` if the key belongs to another request.
        """
        self._session.execute(_DELETE_EXPIRED)
        if self._session.scalar(_CLAIM, self._parameters | {"request": request}):
            return None
        stored = self._session.execute(_READ, self._parameters).one()
        if stored.request != request:
            detail = f"The key was sent with another request within {RETENTION_HOURS} hours; use a new one."
            raise ApiError("idempotency_key_reused", detail, FieldError(detail, header="Idempotency-Key"))
        return msgspec.json.decode(stored.answer, type=schemas.StoredResponse)

    def store(self, response: schemas.StoredResponse) -> None:
        """Store the response until the key expires."""
        self._session.execute(_STORE, self._parameters | {"answer": msgspec.json.encode(response)})
