"""A contender as it is planned: a profile or an external service, its label and its options."""

from __future__ import annotations

import msgspec

from bookstore.lab.testbed.external import External
from bookstore.profile import rendering
from bookstore.profile.engine_profile import EngineProfile


class PlannedContender(msgspec.Struct, frozen=True, kw_only=True):
    """What takes part: an engine profile, or another service. `label` tells two of the same apart; `load` is what
    of the workload is another for this one."""

    label: str
    spec: str
    load: dict[str, float] = {}
    profile: EngineProfile | None = None
    service: External | None = None

    @property
    def keys(self) -> dict[str, str]:
        return rendering.effective(self.profile) if self.profile else self.service.keys if self.service else {}
