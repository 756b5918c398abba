"""Labels of the info metrics, which do not change while a server runs: build, profile and schema revision."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Final

from bookstore.catalog import models
from bookstore.profile.engine_profile import EngineProfile
from bookstore.profile.rendering import effective_values

_LIBRARIES: Final = ("litestar", "sqlalchemy", "granian")


def info_labels(profile: EngineProfile, revision: str | None) -> dict[str, dict[str, str]]:
    """Return the labels of each info metric by its name. `revision` is the schema revision at startup, None if nothing
    was migrated."""
    library = profile.driver.removesuffix("-sync")
    keys = {key: text for key, text in effective_values(profile).items() if key != "description"}
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
