"""The propagator `blend`: several propagators carry the same masks, and their soft results are averaged.

    propagators:
      aot: {propagator: blend, of: [flow, aot_nano]}

A member is a propagator without settings (`flow`), the weights of this package (`aot_nano`), or a table
(`{propagator: aot, weights: FILE}`).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from rvos_ensemble import propagators
from rvos_ensemble.adapters.core.component import find, make
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.hashing import digest, file_hash, file_stamp
from rvos_ensemble.adapters.core.messages import shown
from rvos_ensemble.adapters.core.settings import either, listed, number, switch, table, text
from rvos_ensemble.propagators.core.propagator import Propagator
from rvos_ensemble.propagators.inference.blend_sweep import BlendSweep


class Blend(Propagator):
    """The mean of several propagators, `of: [flow, aot_nano]`; better than each of them where they err differently."""

    corrects: ClassVar[bool] = True
    defaults: ClassVar[dict[str, Any]] = {
        "of": listed(
            either(None, text(), table()),
            least=2,
            most=8,
            what="a list of 2 or more of: a propagator, weights of this package, {propagator: NAME, settings...}",
        ),
        # exponent of each member's confidence as its weight, see `blend`; 0: a plain mean
        "confidence": number(2.0, least=0, most=100),
        "feedback": switch(False),  # members continue from the mean of each frame instead of from their own masks
    }

    def __init__(self, /, **settings):
        super().__init__(**settings)
        members, problems = [], []
        for n, member in enumerate(self.settings.of, start=1):
            try:
                members.append(_made(member))
            except InputError as error:
                problems += [f"blend: member {n}: {problem}" for problem in error.problems]
        if self.settings.feedback:
            problems += [
                f"blend: {m.name} cannot continue from the mean, set `feedback: false`"
                for m in members
                if not m.corrects
            ]
        if problems:
            raise InputError(problems)
        self.members: list[Propagator] = members
        self.reads_text = any(m.reads_text for m in members)

    @property
    def title(self) -> str:
        """See `Propagator.title`."""
        *others, last = (", ".join(m.weights) or m.title for m in self.members)
        return f"blend of {', '.join(others)} and {last}"

    @property
    def weights(self) -> list[str]:
        """The weights of all members."""
        return [weights for member in self.members for weights in member.weights]

    @property
    def precisions(self) -> list[str]:
        """The precisions of all members."""
        return list(dict.fromkeys(p for m in self.members for p in m.precisions))

    @property
    def uses_gpu(self) -> bool:
        """Whether one of the members runs on a GPU."""
        return any(m.uses_gpu for m in self.members)

    @property
    def independent(self) -> bool:
        """Whether the sequences of all members are independent."""
        return all(m.independent for m in self.members)

    def for_clip(self, length: int, sentences: Sequence[str]) -> Blend:
        """A copy whose members know the clip; see `Propagator.for_clip`."""
        result = copy.copy(self)
        result.members = [m.for_clip(length, sentences) for m in self.members]
        return result

    def sweep(self, size: tuple[int, int], sequences: int) -> BlendSweep:
        """A new pass with clean memories; see `Propagator.sweep`."""
        return self._pass(m.sweep(size, sequences) for m in self.members)

    def reverse(self, sweep: BlendSweep, size: tuple[int, int], sequences: int) -> BlendSweep:
        """The pass in the other direction of every member; see `Propagator.reverse`."""
        pairs = zip(self.members, sweep.sweeps, strict=True)
        return self._pass(member.reverse(own, size, sequences) for member, own in pairs)

    def fingerprint(self) -> str:
        """Hash of the members: version, code where it is a user's file, weights, and a precision below fp32."""
        about = [(type(m).version, _code(m), m.fingerprint(), *m.low_precisions) for m in self.members]
        return digest(repr(about))

    def _pass(self, sweeps: Iterable) -> BlendSweep:
        return BlendSweep(list(sweeps), self.settings.confidence, self.settings.feedback)


def _made(member: str | Mapping[str, Any]) -> Propagator:
    """The propagator that a member of the setting `of` describes.

    Raises:
        InputError: no such propagator, or settings that it does not accept.
    """
    settings = dict(member) if isinstance(member, Mapping) else {"propagator": member}
    name = settings.pop("propagator", None)
    if not isinstance(name, str):
        raise InputError(f"{shown(member)}, expected {{propagator: NAME, settings...}}")
    if isinstance(member, str) and name in _weights():
        name, settings = name.split("_")[0], {"weights": name}
    return make(find(name, Propagator, propagators, "rvos_ensemble.propagators"), settings)


def _weights() -> Iterable[str]:
    """The names of the weights of this package; torch is imported here, so that naming a blend does not need it."""
    from rvos_ensemble.adapters.inference.checkpoints.weights import shipped

    return shipped()


def _code(member: Propagator) -> str:
    """Hash of the user's file that defines a propagator; its name if it belongs to the package."""
    file = type(member).file
    return file_hash(file_stamp(file)) if file else member.name
