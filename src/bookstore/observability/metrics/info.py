"""What a server is, and stays while it runs: its build, its profile, the schema that it found."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Final

from bookstore.catalog import models
from bookstore.profile.engine_profile import EngineProfile
from bookstore.profile.rendering import effective

_LIBRARIES: Final = ("litestar", "sqlalchemy", "granian")


def info_labels(profile: EngineProfile, revision: str | None) -> dict[str, dict[str, str]]:
    """The name of each info metric, and its labels. `revision` is that of the database's schema when the server
    started; None where nothing was migrated."""
    library = profile.driver.removesuffix("-sync")
    keys = {key: text for key, text in effective(profile).items() if key != "description"}
    return {
        "bookstore_build_info": {
            "version": version("bookstore"),
            "python": platform.python_version(),
            **{name: version(name) for name in _LIBRARIES},
            "driver": library,
            "driver_version": version(library),
        },
        "bookstore_profile_info": {"profile": profile.name, **keys},
        "bookstore_schema_info": {"revision": revision or "none", "needed": models.SCHEMA_REVISION},
    }
