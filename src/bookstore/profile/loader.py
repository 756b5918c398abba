"""Engine profiles: YAML -> EngineProfile, all defaults filled, `name@key=value` on top."""

from __future__ import annotations

import msgspec

from bookstore.config import validation
from bookstore.config.validation import SourceValues, Violations
from bookstore.profile import layers
from bookstore.profile.engine_profile import EngineProfile
from bookstore.profile.rules import REMARKS, check_combinations, override


def load(spec: str) -> EngineProfile:
    """The profile that `spec` names: a shipped name or a path, with `@key=value,key=value` behind it.

    Raises ConfigurationError with every mistake, a line each: `file:line:column: key: found …; allowed is …`.
    """
    mistakes = Violations()
    entries = _entries(spec, mistakes)
    values = validation.validate(EngineProfile, entries, mistakes, REMARKS, beside=("extends",))
    check_combinations(entries, EngineProfile(name="", **values), mistakes)
    mistakes.raise_any()
    profile = EngineProfile(name=layers.label(spec), **values)
    return msgspec.structs.replace(
        profile,
        threads=profile.thread_count or None,
        prepared_statements=profile.prepared_statements and not profile.behind_pooler,
    )


def places(spec: str) -> dict[str, str]:
    """Where each key that `spec` does not leave to the defaults stands: `file:line:column`, or `spec` itself."""
    return {key: entry.place for key, entry in _entries(spec, Violations()).items()}


def _entries(spec: str, mistakes: Violations) -> SourceValues:
    entries: SourceValues = {}
    for layer in layers.layers(spec, mistakes):
        entries = override(entries, layer)
    return entries


def with_workers(profile: EngineProfile, workers: int | None) -> EngineProfile:
    """The profile with WEB_CONCURRENCY's number of workers, where there is one."""
    return msgspec.structs.replace(profile, workers=workers) if workers else profile
