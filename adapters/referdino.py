"""ReferDINO's queries on disk as the instances of expressions."""

from __future__ import annotations

from collections.abc import Sequence

from rvos_ensemble.adapters.core.adapter import Adapter
from rvos_ensemble.adapters.core.clip import Clip
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.instances import as_objects
from rvos_ensemble.adapters.core.io.disk import user_path
from rvos_ensemble.adapters.core.prediction import Objects
from rvos_ensemble.adapters.core.settings import number, path
from rvos_ensemble.adapters.core.traits import Traits
from rvos_ensemble.adapters.files.readers.reader import decoding_problems
from rvos_ensemble.adapters.files.tools.referdino import THRESHOLD, ReferDino, referdino_files


class Referdino(Adapter):
    """The queries in ReferDINO's npz, each an instance with its own best frame.

    `propagate` with `key_frame: given` propagates each query, and `unite` joins those of an expression. For the union
    of the masks as ReferDINO predicts them, read the same files by the adapter `files`.

    Settings:
        path: the folder of VIDEO.npz, or one such file; see `adapters/files/tools/referdino.py`.
        threshold: of the scores of queries.
    """

    stored = False
    objects = True
    defaults = {"path": path(), "threshold": number(THRESHOLD, least=0, most=1)}

    def predict(self, clip: Clip) -> Objects:
        """The queries of the clip, in the form of `instances.py`; an expression without any refers to nothing."""
        reader, written = self._reader(), self.settings.path
        present = reader.expressions(clip)
        if present is None:
            raise InputError(f"{written}: no queries of video {clip.name!r}; {reader.contents()}")
        if missing := [e.id for e in clip.expressions if e.id not in present]:
            raise InputError(f"{written}: video {clip.name!r}: no queries of expression {i!r}" for i in missing)
        return as_objects(clip, {e.id: reader.queries(clip, e) for e in clip.expressions})

    def check(self, clips: Sequence[Clip]) -> list[str]:
        """Checks names, counts, sizes and scores completely."""
        problems: list[str] = []
        for clip in clips:
            try:
                self.predict(clip)
            except InputError as error:
                problems += error.problems
        return list(dict.fromkeys(problems))

    def inspect(self, clip: Clip) -> list[str]:
        """Reads every mask of a clip."""
        try:
            sequences = self.predict(clip).values()
        except InputError as error:
            return error.problems
        return list(dict.fromkeys(problem for s in sequences for problem in decoding_problems(s.masks)))

    def traits(self, clip: Clip) -> Traits:
        """Binary masks of objects, each with scores and a key frame."""
        return Traits("binary", scores=True, key_frame=True, objects=True)

    def fingerprint(self, clip: Clip) -> str:
        """Hash of the file of the clip."""
        return self._reader().fingerprint(clip)

    def _reader(self) -> ReferDino:
        written = user_path(self.settings.path)
        files = referdino_files(str(written))
        if not files:
            raise InputError(f"{written}: expected a folder of ReferDINO's VIDEO.npz, or one of them")
        return ReferDino(files, self.settings.threshold)
