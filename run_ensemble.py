"""Ensemble and post-processing for referring video object segmentation.

python run_ensemble.py recipe=NAME|FILE [data=NAME] [key=value ...]   run a recipe (resume it if interrupted)
python run_ensemble.py check recipe=... [key=value ...]               validate recipe and every input; compute nothing
python run_ensemble.py ablate recipe=... ablate.STEP.KEY=[a,b,...]    what thresholds, weights, models, steps are worth
python run_ensemble.py evaluate gt=DIR pred=DIR|ZIP protocol=NAME     J and F of any masks, by a benchmark's protocol
python run_ensemble.py train propagator=NAME|segmenter=NAME ...       trains a network, on shapes or your own data
python run_ensemble.py list                                           what recipes and evaluate can name
python run_ensemble.py weights [verify FILE | export FILE NAME]      published checkpoints; what a file is; fp16 of it
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from adapters.sequence import InputError
from ensemble import ablation, evaluate, pipeline, recipe, recipe_files, train
from ensemble.steps import OPS

UNREAD = 141  # the exit code of a shell's command that writes to a pipe which nobody reads


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 every clip succeeded, 1 some failed, 2 the input or recipe is wrong, 130 interrupted, 141 unread."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _obey(arguments)
        sys.stdout.flush()
        return code
    except InputError as e:
        for problem in e.problems[:50]:
            print(f"error: {problem}", file=sys.stderr)
        if len(e.problems) > 50:
            print(f"and {len(e.problems) - 50} more problems", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command resumes", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `| head` has seen enough; what Python would still flush at its end goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNREAD


def _obey(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(__doc__)
        return 0 if arguments else 2
    verb = "run" if "=" in arguments[0] else arguments.pop(0)
    if verb not in VERBS:
        raise InputError(f"no command {verb!r}. There are: {', '.join(VERBS)}; key=value alone runs a recipe")
    return VERBS[verb](arguments)


def run(arguments: Sequence[str]) -> int:
    """Runs a recipe."""
    return pipeline.run(recipe.load(arguments))


def check(arguments: Sequence[str]) -> int:
    """Validates a recipe and its inputs."""
    given = recipe.load(arguments)
    found = pipeline.check(given, pipeline.clips_of(given))
    if found.problems:
        raise InputError(found.lines)
    frames = sum(len(c) * len(c.expressions) for c in found.clips)
    expressions = sum(len(c.expressions) for c in found.clips)
    print(f"everything is there: {len(found.clips)} clips, {expressions} expressions, {frames} masks to come")
    return 0


def list_all(arguments: Sequence[str]) -> int:
    """Prints what a recipe can name."""
    if arguments:
        raise InputError(f"list takes no arguments, found {' '.join(arguments)}")
    parts = {
        "recipes": recipe_files.names(),
        "data": recipe_files.tables(),
        "adapters": recipe.components("adapter"),
        "propagators": recipe.components("propagator"),
        "operations": {name: (op.__doc__ or "").split("\n")[0] for name, op in OPS.items()},
        "protocols": evaluate.names(),
    }
    for title, entries in parts.items():
        print(f"{title}:")
        for name, line in entries.items():
            print(f"  {name:18} {line}")
    return 0


def weights(arguments: Sequence[str]) -> int:
    """Prints the published checkpoints, or what a file is; or writes a training's weights as those that are shipped."""
    from adapters.networks import published as models  # here, because torch takes its time to load
    from adapters.networks.weights import read_weights
    from adapters.training import export as of_models
    from propagators.networks import published as movers
    from propagators.training import export as of_movers

    if not arguments:
        print(f"{models.table()}\n\n{movers.table()}")
        return 0
    verb, *files = arguments
    if (verb, len(files)) not in (("verify", 1), ("export", 2)):
        found = " ".join(arguments)
        raise InputError(f"weights takes nothing, `verify FILE` or `export FILE NAME.safetensors`, found {found!r}")
    moves = any(name.startswith("LSTT.") for name in read_weights(files[0]))
    if verb == "verify":
        print((movers if moves else models).verify(files[0]))
    else:
        written = (of_movers if moves else of_models.export)(*files)
        print(f"{written}: {written.stat().st_size / 1e6:.1f} MB")
    return 0


VERBS = {
    "run": run,
    "check": check,
    "ablate": ablation.run,
    "evaluate": evaluate.run,
    "train": train.run,
    "list": list_all,
    "weights": weights,
}

if __name__ == "__main__":
    sys.exit(main())
