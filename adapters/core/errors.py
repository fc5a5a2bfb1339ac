"""The exception for mistakes in the user's input."""

from __future__ import annotations

from collections.abc import Iterable


class InputError(ValueError):
    """The user's input is wrong; `problems` lists every problem, one line each."""

    def __init__(self, problems: str | Iterable[str]):
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self):  # pickled with all problems, so that workers can report them
        return InputError, (self.problems,)
