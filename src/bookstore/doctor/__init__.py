"""Checks whether the service would start and run well, and how to fix what is wrong. It starts and changes nothing.

Belongs here: checks of configuration, files, machine and database, whose result is a Finding. Does not belong here:
the rules that `serve` enforces (doctor calls the same functions) and terminal output (see `cli.commands.doctor`). Only
`cli` imports it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Final

import msgspec
import sqlalchemy as sa

from bookstore.config.settings import Settings
from bookstore.database import budget, embedded
from bookstore.database import url as database_url
from bookstore.doctor import configuration, database, files, machine
from bookstore.doctor.case import Case
from bookstore.doctor.configuration import Value
from bookstore.doctor.finding import LEVELS, Finding, error_findings, run_check
from bookstore.exceptions import ConfigurationError
from bookstore.profile.engine_profile import EngineProfile

FORMAT_VERSION: Final = 1


class Examination(msgspec.Struct, frozen=True):
    """All findings, the most severe first, and the configuration. `starts` is whether `serve` would start."""

    version: int
    starts: bool
    findings: tuple[Finding, ...]
    configuration: tuple[Value, ...]


def examine(
    environ: Mapping[str, str], given: Mapping[str, str], ignored: list[str], *, over_budget: bool = False
) -> Examination:
    """Examine the service that `serve` would start.

    `environ` is the environment, `given` the command-line arguments under the names of the variables they override.
    `ignored` are the variables that were removed from the environment because the profile decides.
    """
    values: list[Value] = []
    findings = list(_check_all(environ, given, ignored, values, over_budget=over_budget))
    findings.sort(key=lambda finding: LEVELS.index(finding.level))
    starts = all(finding.level != "problem" for finding in findings)
    return Examination(FORMAT_VERSION, starts, tuple(findings), tuple(values))


def _check_all(
    environ: Mapping[str, str], given: Mapping[str, str], ignored: list[str], values: list[Value], *, over_budget: bool
) -> Iterator[Finding]:
    yield from run_check("environment", partial(configuration.ignored_variables, ignored))
    yield from run_check("environment", partial(configuration.misspelt_variables, environ))
    yield from run_check("traces", partial(configuration.traces, environ))
    yield from run_check("versions", machine.versions)
    try:
        settings = configuration.read_settings(environ, given)
    except ConfigurationError as error:
        yield from error_findings("settings", error)
        return
    values += configuration.setting_values(settings, environ, given)
    profile = None
    try:
        profile = configuration.load_profile(settings)
    except ConfigurationError as error:
        yield from error_findings("profile", error)
    else:
        values += configuration.profile_values(settings.profile, profile, settings.workers)
        yield Finding("ok", "profile", profile.name)
        yield from run_check("descriptors", partial(machine.descriptors, profile))
        yield from run_check("CPUs", partial(machine.cpus_and_memory, profile))
    yield from run_check("ports", partial(machine.ports, settings))
    yield from run_check("tokens", partial(files.tokens, settings))
    yield from run_check("data folder", partial(files.data_folder, settings))
    yield from _check_database(settings, profile, over_budget=over_budget)


def _check_database(settings: Settings, profile: EngineProfile | None, *, over_budget: bool) -> Iterator[Finding]:
    """Check the database. Without a profile only the URL is checked."""
    try:
        if profile:
            database_url.check_pooler(settings, profile)
        url = _resolve_url(settings)
    except ConfigurationError as error:
        yield from error_findings("database", error)
        return
    if url is None:
        yield from run_check("database", partial(_embedded_not_running, profile, over_budget=over_budget))
        return
    yield from run_check("password", partial(files.password, settings))
    yield from run_check("TLS", partial(files.certificate, url))
    if profile:
        yield from database.examine(Case(settings, profile, url, over_budget))


def _resolve_url(settings: Settings) -> sa.URL | None:
    """Return the database's URL, or None if the embedded PostgreSQL is not running. Raises ConfigurationError."""
    if settings.database_url:
        return database_url.resolve(settings)
    embedded.wheel()
    cluster = database_url.embedded_cluster(settings)
    with suppress(OSError, ValueError):
        # Not with pg_ctl, which needs a user and files that would have to be created.
        pid = int((cluster.data / "postmaster.pid").read_text().split("\n", 1)[0])
        os.kill(pid, 0)
        return cluster.url(database_url.EMBEDDED_DATABASE)
    return None


def _embedded_not_running(profile: EngineProfile | None, *, over_budget: bool) -> Iterator[Finding]:
    yield Finding(
        "note",
        "database",
        "the embedded PostgreSQL is not running, so it was not checked; serve starts it, doctor does not",
        "start it with `bookstore db upgrade`; for production set DATABASE_URL",
    )
    if profile:
        result = budget.budget(profile, budget.ServerCapacity(max_connections=100, reserved=3, in_use=0))
        if not result.fits:
            yield Finding(
                "warning" if over_budget else "problem",
                "budget",
                f"over the connection budget: {budget.describe(profile, result)}",
                budget.advice(profile, result),
            )
