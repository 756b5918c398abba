"""What is examined: the settings and the profile as `serve` would have them."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from bookstore.config.settings import Settings
from bookstore.profile.engine_profile import EngineProfile


class Case(msgspec.Struct, frozen=True):
    """`url` is None for an embedded PostgreSQL that does not run; with `over_budget` the budget is no obstacle."""

    settings: Settings
    profile: EngineProfile
    url: sa.URL | None
    over_budget: bool = False

    @property
    def is_embedded(self) -> bool:
        return self.settings.database_url is None
