"""Would the service start, and be well? What is found, and what to do; nothing is started or changed."""

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
    """All that was found, the worst first, and the configuration. `starts` is whether `serve` would."""

    version: int
    starts: bool
    findings: tuple[Finding, ...]
    configuration: tuple[Value, ...]


def examine(
    environ: Mapping[str, str], given: Mapping[str, str], ignored: list[str], *, over_budget: bool = False
) -> Examination:
    """Of the service that `serve` would start in `environ` with the arguments `given`, both by the variables' names.
    `ignored` are the variables that were taken out of the environment, for the profile decides."""
    values: list[Value] = []
    found = list(_check_all(environ, given, ignored, values, over_budget=over_budget))
    found.sort(key=lambda one: LEVELS.index(one.level))
    starts = all(one.level != "problem" for one in found)
    return Examination(FORMAT_VERSION, starts, tuple(found), tuple(values))


def _check_all(
    environ: Mapping[str, str], given: Mapping[str, str], ignored: list[str], values: list[Value], *, over_budget: bool
) -> Iterator[Finding]:
    yield from run_check("environment", partial(configuration.ignored_variables, ignored))
    yield from run_check("environment", partial(configuration.misspelt_variables, environ))
    yield from run_check("traces", partial(configuration.traces, environ))
    yield from run_check("versions", machine.versions)
    try:
        found = configuration.read_settings(environ, given)
    except ConfigurationError as refusal:
        yield from error_findings("settings", refusal)
        return
    values += configuration.setting_values(found, environ, given)
    chosen = None
    try:
        chosen = configuration.load_profile(found)
    except ConfigurationError as refusal:
        yield from error_findings("profile", refusal)
    else:
        values += configuration.profile_values(found.profile, chosen, found.workers)
        yield Finding("ok", "profile", chosen.name)
        yield from run_check("descriptors", partial(machine.descriptors, chosen))
        yield from run_check("CPUs", partial(machine.cpus_and_memory, chosen))
    yield from run_check("ports", partial(machine.ports, found))
    yield from run_check("tokens", partial(files.tokens, found))
    yield from run_check("data folder", partial(files.data_folder, found))
    yield from _check_database(found, chosen, over_budget=over_budget)


def _check_database(found: Settings, chosen: EngineProfile | None, *, over_budget: bool) -> Iterator[Finding]:
    """Without a profile, the URL alone is looked at."""
    try:
        if chosen:
            database_url.check_pooler(found, chosen)
        url = _resolve_url(found)
    except ConfigurationError as refusal:
        yield from error_findings("database", refusal)
        return
    if url is None:
        yield from run_check("database", partial(_embedded_not_running, chosen, over_budget=over_budget))
        return
    yield from run_check("password", partial(files.password, found))
    yield from run_check("TLS", partial(files.certificate, url))
    if chosen:
        yield from database.examine(Case(found, chosen, url, over_budget))


def _resolve_url(found: Settings) -> sa.URL | None:
    """None for an embedded PostgreSQL that does not run. Raises ConfigurationError."""
    if found.database_url:
        return database_url.resolve(found)
    embedded.wheel()
    cluster = database_url.embedded(found)
    with suppress(OSError, ValueError):
        # Not by pg_ctl: that needs a user and files, which would be made.
        pid = int((cluster.data / "postmaster.pid").read_text().split("\n", 1)[0])
        os.kill(pid, 0)
        return cluster.url(database_url.EMBEDDED_DATABASE)
    return None


def _embedded_not_running(chosen: EngineProfile | None, *, over_budget: bool) -> Iterator[Finding]:
    yield Finding(
        "note",
        "database",
        "the embedded PostgreSQL does not run; serve starts it, and doctor does not: nothing in it was looked at",
        "bookstore db upgrade starts it; for production set DATABASE_URL",
    )
    if chosen:
        it = budget.budget(chosen, budget.ServerCapacity(max_connections=100, reserved=3, in_use=0))
        if not it.fits:
            yield Finding(
                "warning" if over_budget else "problem",
                "budget",
                f"over the connection budget: {budget.sentence(chosen, it)}",
                budget.advice(chosen, it),
            )
