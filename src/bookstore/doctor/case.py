"""The subject of an examination: the settings and the profile as `serve` would use them."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from bookstore.config.settings import Settings
from bookstore.profile.engine_profile import EngineProfile


class Case(msgspec.Struct, frozen=True):
    """`url` is None if the embedded PostgreSQL is not running; `over_budget` makes an exceeded budget a warning."""

    settings: Settings
    profile: EngineProfile
    url: sa.URL | None
    over_budget: bool = False

    @property
    def is_embedded(self) -> bool:
        return self.settings.database_url is None
