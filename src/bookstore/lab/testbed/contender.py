"""A planned contender: a profile or an external service, with its label and options."""

from __future__ import annotations

import msgspec

from bookstore.lab.testbed.external import External
from bookstore.profile import rendering
from bookstore.profile.engine_profile import EngineProfile


class PlannedContender(msgspec.Struct, frozen=True, kw_only=True):
    """An engine profile or an external service. `label` is unique in the comparison; `load` has the workload values
    that differ for this contender."""

    label: str
    spec: str
    load: dict[str, float] = {}
    profile: EngineProfile | None = None
    service: External | None = None

    @property
    def keys(self) -> dict[str, str]:
        return rendering.effective_values(self.profile) if self.profile else self.service.keys if self.service else {}

    @property
    def uses_database(self) -> bool:
        """Whether the contender gets the lab's database. Sessions and statements elsewhere are unknown, not 0."""
        return self.service is None or self.service.uses_database
