"""Checks of files: tokens, passwords, certificates and the data folder, and who can read or change them."""

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
"""The age in days above which a token should be replaced."""
EXPIRY_WARNING_DAYS: Final = 30


def tokens(settings: Settings) -> Iterator[Finding]:
    """Check the tokens as `serve` does, and their file and age."""
    accepted = keyring.read(settings).tokens()
    keyring.check_writers(settings, settings.host, read_only=settings.read_only)
    path = None if settings.api_tokens else keyring.tokens_path(settings)
    if path and path.exists():
        yield from _check_exposure("tokens", path, os.geteuid())
    place = "BOOKSTORE_API_TOKENS" if path is None else str(path)
    if accepted:
        yield Finding("ok", "tokens", f"{place}: {', '.join(token.name for token in accepted)}")
    elif not settings.read_only:
        yield Finding(
            "note",
            "tokens",
            f"{place}: no tokens, so nobody can write",
            "create one with `bookstore tokens create NAME --scope catalog:write`",
        )
    today = datetime.now(UTC).date()
    for token in accepted:
        if token.created and _age_days(token.created, today) > OLD_DAYS:
            yield Finding(
                "note",
                "tokens",
                f"{token.name} was created on {token.created}, more than a year ago",
                "create a new one, give it to the client, and revoke the old one (docs/security.md)",
            )


def password(settings: Settings) -> Iterator[Finding]:
    """Check the mode of the password file. Orchestrators may mount secrets world-readable, but never writable."""
    path = settings.database_password_file
    if path is None:
        return
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o022:
        yield Finding(
            "warning", "password", f"{path}: other users can change it (mode {mode:04o})", f"chmod 600 {path}"
        )
    elif mode & 0o004:
        yield Finding(
            "note", "password", f"{path}: every user can read it (mode {mode:04o})", f"chmod 600 or 640 {path}"
        )
    else:
        yield Finding("ok", "password", f"{path}: mode {mode:04o}")


def certificate(url: sa.URL) -> Iterator[Finding]:
    """Check when the root certificate for the database server expires."""
    path = url.query.get("sslrootcert")
    if not path or path == ssl.get_default_verify_paths().cafile:  # somebody else keeps the machine's own up to date
        return
    context = ssl.create_default_context(cafile=str(path))
    now = datetime.now(UTC).timestamp()
    for root in context.get_ca_certs():
        left_days = (ssl.cert_time_to_seconds(str(root["notAfter"])) - now) / 86400
        if left_days < EXPIRY_WARNING_DAYS:
            when = f"expires on {root['notAfter']}" if left_days > 0 else f"expired on {root['notAfter']}"
            yield Finding("warning", "TLS", f"{path}: the root certificate {when}", "replace it with a new one")


def data_folder(settings: Settings) -> Iterator[Finding]:
    """Check the folder of the tokens file and the embedded PostgreSQL. It does not have to exist yet."""
    folder = settings.data_dir
    if not folder.exists():
        above = next(parent for parent in folder.parents if parent.exists())
        if os.access(above, os.W_OK | os.X_OK):
            yield Finding("ok", "data folder", f"{folder}: created when needed")
        else:
            level = "problem" if settings.database_url is None else "note"
            yield Finding(
                level,  # type: ignore[arg-type] # one of two literals
                "data folder",
                f"{folder}: cannot be created, because this user cannot write to {above}",
                "set BOOKSTORE_DATA_DIR to another folder",
            )
        return
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & 0o022 and not mode & stat.S_ISVTX:
        yield Finding(
            "warning", "data folder", f"{folder}: other users can change it (mode {mode:04o})", f"chmod 755 {folder}"
        )
    else:
        yield Finding("ok", "data folder", f"{folder}: mode {mode:04o}")


def _check_exposure(check: str, path: Path, user: int) -> Iterator[Finding]:
    status = path.stat()
    mode = stat.S_IMODE(status.st_mode)
    # As in keyring.read: a secret that an orchestrator mounts belongs to another user, and to us by its group.
    if mode & (0o077 if status.st_uid == user else 0o007):
        yield Finding("warning", check, f"{path}: other users have access (mode {mode:04o})", f"chmod 600 {path}")
    if status.st_uid not in {user, 0}:
        yield Finding(
            "warning",
            check,
            f"{path}: belongs to another user (id {status.st_uid}), who can add tokens",
            "chown it to the service's user or to root",
        )


def _age_days(created: date, today: date) -> int:
    return (today - created).days
