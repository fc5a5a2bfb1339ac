"""The functions that a mask passes on its way from a file to submission.zip: in a vote, and through a propagator.

python -m benchmarks.mask_path [CHECKOUT]

One tiny clip is run in this process under `sys.setprofile`. A function counts when it is one of the package and is
given, or returns, masks: an array of the clip's size, packed or compressed masks, a mask sequence, or a prediction.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Any

import cv2
import numpy as np

SIZE, FRAMES = (48, 64), 3
STEPS = {
    "vote": "{smr: {op: vote, inputs: [a, b, c], threshold: 2}}",
    "propagate": "{smr: {op: propagate, input: a, with: flow, key_frame: first}}",
}


def main(checkout: Path) -> None:
    sys.path.insert(0, str(checkout))
    import run_ensemble

    for name, steps in STEPS.items():
        with tempfile.TemporaryDirectory() as folder:
            arguments = make(Path(folder), steps)
            seen = Functions(checkout)
            with contextlib.redirect_stdout(io.StringIO()):
                run_ensemble.main([*arguments, f"out={folder}/warm"])  # imports
                sys.setprofile(seen)
                code = run_ensemble.main([*arguments, f"out={folder}/out"])
                sys.setprofile(None)
            assert code == 0, code
        print(f"{name}: {len(seen.names)} functions")
        for function in seen.names:
            print(f"    {function}")


def make(root: Path, steps: str) -> list[str]:
    """Frames, masks of three models and a recipe; the arguments that run it."""
    rng = np.random.default_rng(0)
    for t in range(FRAMES):
        frame = root / "video" / "JPEGImages" / "v" / f"{t:05d}.jpg"
        frame.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(frame), rng.integers(0, 255, (*SIZE, 3), np.uint8))
        for model in "abc":
            mask = np.zeros(SIZE, np.uint8)
            mask[10:30, 10 + t : 40 + t] = 255
            path = root / "predictions" / model / "Annotations" / "v" / "0" / f"{t:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), mask)
    recipe = root / "recipe.yaml"
    recipe.write_text(
        f"data: {{dataset: folder, root: {root}/video, expressions: [a disc]}}\n"
        f"sources: {{{', '.join(f'{m}: {{adapter: files, path: {root}/predictions/{m}}}' for m in 'abc')}}}\n"
        f"propagators: {{flow: {{}}}}\nsteps: {steps}\noutput: smr\nreport: false\nengine: {{workers: 1}}\n"
    )
    return [f"recipe={recipe}"]


class Functions:
    """A profile function that notes which functions of a checkout are given or return masks."""

    def __init__(self, checkout: Path):
        self.folders = tuple(f"{checkout.resolve() / part}/" for part in ("adapters", "propagators", "ensemble"))
        self.root, self.names = checkout.resolve(), {}

    def __call__(self, frame: FrameType, event: str, result: Any) -> None:
        code = frame.f_code
        if event not in ("call", "return") or not code.co_filename.startswith(self.folders) or code.co_name[0] == "<":
            return
        arguments = [frame.f_locals.get(n) for n in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]]
        if any(map(holds_masks, [*arguments, result] if event == "return" else arguments)):
            path = Path(code.co_filename).relative_to(self.root)
            self.names[f"{path}: {getattr(code, 'co_qualname', code.co_name)}"] = None


def holds_masks(value: Any, depth: int = 3) -> bool:
    """Whether a value is, or holds, masks of the clip."""
    if isinstance(value, np.ndarray):
        return value.ndim in (2, 3) and value.shape[-2:] in (SIZE, (SIZE[0], SIZE[1] // 8))
    if type(value).__name__ in ("MaskSequence", "PackedMasks", "LazyMasks", "LogitMasks", "CompressedMasks", "Objects"):
        return True
    if depth and isinstance(value, (list, tuple, dict)) and len(value) < 100:
        return any(holds_masks(v, depth - 1) for v in (value.values() if isinstance(value, dict) else value))
    return False


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
