"""The command `completion`: a script for your shell, which completes verbs, recipes, keys and names.

    eval "$(run_ensemble completion bash)"                     in ~/.bashrc
    eval "$(run_ensemble completion zsh)"                      in ~/.zshrc, after compinit
    run_ensemble completion fish | source                      in ~/.config/fish/config.fish

The script asks `run_ensemble completion words LINE` whenever you press Tab, so that it always knows the recipes, keys
and components of the version that runs, and those of the recipe on the line.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.messages import shown
from rvos_ensemble.ensemble.commands.guide.candidates import SHELLS, candidates

FOLDER = Path(__file__).parent / "guide"


def run(arguments: Sequence[str]) -> int:
    """Prints the script of a shell, or the words that may follow a line.

    Raises:
        InputError: no shell of that name.
    """
    if arguments and arguments[0] == "words":
        print("\n".join(words(" ".join(arguments[1:]))))
        return 0
    if len(arguments) != 1 or arguments[0] not in SHELLS:
        raise InputError(f"completion: {shown(' '.join(arguments))}, expected the name of a shell: {', '.join(SHELLS)}")
    print((FOLDER / f"completion.{arguments[0]}").read_text(encoding="utf-8"), end="")
    return 0


def words(line: str) -> list[str]:
    """What the last word of a line may become; nothing where the shell knows better, as for files.

    Args:
        line: from the name of the program to the cursor.
    """
    lexer = shlex.shlex(line, posix=True, punctuation_chars="")
    lexer.whitespace_split, lexer.commenters = True, ""
    typed = []
    try:
        typed.extend(lexer)
    except ValueError:  # an open quote: what is inside is not completed
        return []
    if not line or line[-1].isspace():
        typed.append("")
    try:
        found = candidates(typed[1:])
    except (InputError, OSError):
        return []
    return sorted(word for word in dict.fromkeys(found) if word.startswith(typed[-1]))
