"""Build hook of hatchling; pyproject.toml says which folders a wheel contains, this file adds the two modules."""

from __future__ import annotations

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Layout(BuildHookInterface):
    """Adds the two modules at the top of the checkout to the wheel, as modules of the package `rvos_ensemble`.

    An editable installation needs neither: it puts the checkout on the path.
    """

    def initialize(self, version: str, build_data: dict) -> None:
        """Changes what hatchling is about to build.

        Args:
            version: "standard" for a wheel, "editable" for `pip install -e`.
            build_data: what hatchling will add to the wheel; changed in place.
        """
        if version == "standard":
            build_data["force_include"] |= {
                "rvos_ensemble.py": "rvos_ensemble/__init__.py",
                "run_ensemble.py": "rvos_ensemble/run_ensemble.py",
            }
