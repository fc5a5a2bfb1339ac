"""What is raised when something the user gave is wrong."""

from __future__ import annotations

from collections.abc import Iterable


class InputError(ValueError):
    """Something the user gave is wrong; carries every problem found, one line each."""

    def __init__(self, problems: str | Iterable[str]):
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self):  # pickled whole, so that workers can report all problems
        return InputError, (self.problems,)
