"""The files: tokens, passwords, certificates, the data folder. Who may read them, who may change them?"""

from __future__ import annotations

import os
import ssl
import stat
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from bookstore.auth import keyring
from bookstore.config.settings import Settings
from bookstore.doctor.finding import Finding

OLD_DAYS: Final = 365
"""A token that is older should be made anew."""
SOON_DAYS: Final = 30


def tokens(found: Settings) -> Iterator[Finding]:
    """As `serve` reads them, or refuses them."""
    known = keyring.read(found).accepted()
    keyring.check_writers(found, found.host, read_only=found.read_only)
    path = None if found.api_tokens else keyring.file(found)
    if path and path.exists():
        yield from _check_exposure("tokens", path, os.geteuid())
    where = "BOOKSTORE_API_TOKENS" if path is None else str(path)
    if known:
        yield Finding("ok", "tokens", f"{where}: {', '.join(one.name for one in known)}")
    elif not found.read_only:
        yield Finding(
            "note",
            "tokens",
            f"{where}: none, so nobody may write",
            "bookstore tokens create NAME --scope catalog:write",
        )
    today = datetime.now(UTC).date()
    for one in known:
        if one.created and _age_days(one.created, today) > OLD_DAYS:
            yield Finding(
                "note",
                "tokens",
                f"{one.name} is of {one.created}, older than a year",
                "make another, give it to the client, revoke this one (docs/security.md)",
            )


def password(found: Settings) -> Iterator[Finding]:
    """An orchestrator's secret may be readable to all in its container; writable it may not be."""
    path = found.database_password_file
    if path is None:
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o022:
        yield Finding("warning", "password", f"{path}: others may change it (mode {mode:04o})", f"chmod 600 {path}")
    elif mode & 0o004:
        yield Finding(
            "note", "password", f"{path}: every user here may read it (mode {mode:04o})", "chmod 600 it, or 640"
        )
    else:
        yield Finding("ok", "password", f"{path}: mode {mode:04o}")


def certificate(url: sa.URL) -> Iterator[Finding]:
    """The certificate that the database's server is checked by: until when is it valid?"""
    path = url.query.get("sslrootcert")
    if not path:
        return
    context = ssl.create_default_context(cafile=str(path))
    now = datetime.now(UTC).timestamp()
    for one in context.get_ca_certs():
        left_days = (ssl.cert_time_to_seconds(str(one["notAfter"])) - now) / 86400
        if left_days < SOON_DAYS:
            when = f"ends {one['notAfter']}" if left_days > 0 else f"ended {one['notAfter']}"
            yield Finding("warning", "TLS", f"{path}: the root certificate {when}", "put a new one there")


def data_folder(found: Settings) -> Iterator[Finding]:
    """Where the tokens, and the embedded PostgreSQL, are: it may be made later."""
    folder = found.data_dir
    if not folder.exists():
        above = next(one for one in folder.parents if one.exists())
        if os.access(above, os.W_OK | os.X_OK):
            yield Finding("ok", "data folder", f"{folder}: is made when it is needed")
        else:
            level = "problem" if found.database_url is None else "note"
            yield Finding(
                level,  # type: ignore[arg-type] # one of two literals
                "data folder",
                f"{folder}: cannot be made, {above} is closed to this user",
                "set BOOKSTORE_DATA_DIR to another folder",
            )
        return
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & 0o022 and not mode & stat.S_ISVTX:
        yield Finding(
            "warning", "data folder", f"{folder}: others may change it (mode {mode:04o})", f"chmod 755 {folder}"
        )
    else:
        yield Finding("ok", "data folder", f"{folder}: mode {mode:04o}")


def _check_exposure(check: str, path: Path, user: int) -> Iterator[Finding]:
    facts = path.stat()
    mode = stat.S_IMODE(facts.st_mode)
    # As keyring.read: a secret that an orchestrator mounts is another user's, and ours by its group.
    if mode & (0o077 if facts.st_uid == user else 0o007):
        yield Finding("warning", check, f"{path}: is not for its owner alone (mode {mode:04o})", f"chmod 600 {path}")
    if facts.st_uid not in {user, 0}:
        yield Finding(
            "warning",
            check,
            f"{path}: belongs to another user (id {facts.st_uid}), who may add tokens",
            "chown it to the service's own user, or to root",
        )


def _age_days(then: date, today: date) -> int:
    return (today - then).days
