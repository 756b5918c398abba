"""Loads an EngineProfile from `name@key=value`: YAML files, overrides, defaults."""

from __future__ import annotations

import msgspec

from bookstore.config import validation
from bookstore.config.validation import SourceValues, Violations
from bookstore.profile import layers
from bookstore.profile.engine_profile import EngineProfile
from bookstore.profile.rules import REMARKS, check_combinations, merge_layer


def load(spec: str) -> EngineProfile:
    """Return the profile for `spec`: a name or a path, optionally followed by `@key=value,key=value`.

    Raises ConfigurationError with one line per violation: `file:line:column: key: found …; allowed is …`.
    """
    violations = Violations()
    entries = _entries(spec, violations)
    values = validation.validate(EngineProfile, entries, violations, REMARKS, beside=("extends",))
    check_combinations(entries, EngineProfile(name="", **values), violations)
    violations.raise_any()
    profile = EngineProfile(name=layers.label(spec), **values)
    return msgspec.structs.replace(
        profile,
        threads=profile.thread_count or None,
        prepared_statements=profile.prepared_statements and not profile.behind_pooler,
    )


def places(spec: str) -> dict[str, str]:
    """Return the source of each key that `spec` sets: `file:line:column`, or `spec` for an override."""
    return {key: entry.place for key, entry in _entries(spec, Violations()).items()}


def _entries(spec: str, violations: Violations) -> SourceValues:
    entries: SourceValues = {}
    for layer in layers.layers(spec, violations):
        entries = merge_layer(entries, layer)
    return entries


def with_workers(profile: EngineProfile, workers: int | None) -> EngineProfile:
    """Return the profile with `workers` (from WEB_CONCURRENCY), unless that is None."""
    return msgspec.structs.replace(profile, workers=workers) if workers else profile
