"""`rv.evaluate`: what the command `evaluate` does, as a function that returns its tables."""

from __future__ import annotations

import os

from rvos_ensemble.adapters.core.component import find, make
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import user_path
from rvos_ensemble.adapters.core.messages import shown
from rvos_ensemble.adapters.core.settings import whole
from rvos_ensemble.ensemble.api.quiet import captured
from rvos_ensemble.ensemble.commands.evaluate import GROUP, EvaluationRequest, path_problems, write
from rvos_ensemble.ensemble.engine.storage.folders import owned
from rvos_ensemble.ensemble.metrics import protocols
from rvos_ensemble.ensemble.metrics.protocols.shared.protocol import Protocol, Result

WORKERS = whole(0, most=4096)


def evaluate(
    gt: str | os.PathLike,
    pred: str | os.PathLike,
    protocol: str | Protocol,
    *,
    out: str | os.PathLike | None = None,
    workers: int = 0,
    verbose: bool = False,
    **options,
) -> Result:
    """Scores a folder or zip of masks by the protocol of a benchmark.

    Args:
        gt: folder of the ground truth, in the layout of the protocol; see docs/evaluation.md.
        pred: folder or zip of the predictions; nothing is ever written into it.
        protocol: a name such as "ref_youtube_vos" (`run_ensemble list` shows all), the path of a .py file with a
            protocol of your own, or an instance.
        out: folder for metrics.csv and metrics.json, the same files as those of the command; None writes nothing.
        workers: processes; 0 starts as many as the work is worth.
        verbose: show progress.
        options: of the protocol, such as `split="valid"` or `missing="zero"`.

    Returns:
        `summary`, {measure: value in 0..1}; `rows`, a pandas DataFrame with one row per scored object, expression or
        sample; `notes`, remarks such as predictions that were left out.

    Raises:
        InputError: naming everything that is wrong with the arguments, the options or the files.

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> evaluate(folder, folder + "/results.zip", "ref_youtube_vos")
    Traceback (most recent call last):
        ...
    rvos_ensemble.adapters.core.errors.InputError: ...results.zip: no such file or folder, given as `pred`
    """
    problems: list[str] = []
    made = None
    try:
        made = _protocol_of(protocol, options)
    except InputError as error:
        problems += error.problems
    if problem := WORKERS.problem(workers):
        problems.append(f"workers {problem}")
    paths = {key: user_path(path) for key, path in (("gt", gt), ("pred", pred), ("out", out)) if path is not None}
    problems += path_problems(paths)
    if problems:
        raise InputError(problems)
    with captured(verbose):
        if out is None:
            return made.evaluate(paths["gt"], paths["pred"], workers)
        with owned(paths["out"], "evaluation"):
            result = made.evaluate(paths["gt"], paths["pred"], workers)
            write(EvaluationRequest(paths["gt"], paths["pred"], made, paths["out"], workers), result)
            return result


def _protocol_of(protocol: str | Protocol, options: dict) -> Protocol:
    if isinstance(protocol, Protocol):
        if options:
            raise InputError(f"{', '.join(options)}: options belong to a protocol's name; `protocol` is an instance")
        return protocol
    if not isinstance(protocol, str):
        raise InputError(f"protocol: {shown(protocol)}, expected the name of a protocol, a .py file or an instance")
    return make(find(protocol, Protocol, protocols, GROUP), options)
