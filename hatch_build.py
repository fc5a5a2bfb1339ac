"""How a wheel is laid out; hatchling reads this file, see pyproject.toml."""

from __future__ import annotations

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Layout(BuildHookInterface):
    """Puts the two modules beside the folders into the package; an editable installation finds them where they are."""

    def initialize(self, version: str, build_data: dict) -> None:
        if version == "standard":
            build_data["force_include"] |= {
                "rvos_ensemble.py": "rvos_ensemble/__init__.py",
                "run_ensemble.py": "rvos_ensemble/run_ensemble.py",
            }
