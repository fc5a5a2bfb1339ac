"""N-acc, T-acc and IoU against the official evaluation of GRES, on random masks.

    git clone https://github.com/henghuiding/ReLA CHECKOUT
    python -m benchmarks.official_gres CHECKOUT [--cases N] [--seed N]

Each case is a random set of expressions, some of which refer to nothing, with predictions that are right, wrong, empty,
or shifted. It is written in the layout of MeViSv2, scored by the protocol `mevis`, and scored by `ReferEvaluator` of
`gres_model/evaluation/refer_evaluation.py`. The official file is not changed. Its parts of detectron2 (a base class,
functions for several processes, and a file system) are replaced by empty ones; the arithmetic is all its own.

The official code scores pictures. For videos of one frame its gIoU is the mean of our J; for longer ones, only N-acc
and T-acc are compared, where the prediction is "no target" if all of its frames are empty.

One case is left out: a target that is visible nowhere. The official IoU is 0 even if the prediction is empty too; the
official J of DAVIS, which MeViS uses, is 1.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
import types
from pathlib import Path

import numpy as np
import torch

from rvos_ensemble.adapters.core.io import png
from rvos_ensemble.adapters.files.readers.coco_rle import encode
from rvos_ensemble.ensemble.metrics.protocols.mevis import MevisProtocol

SIZE = (24, 32)
TOLERANCE = 1e-12


def official(checkout: Path):
    """The official evaluator; what it imports of detectron2 is replaced."""
    parts = {
        "detectron2": {},
        "detectron2.utils": {},
        "detectron2.utils.comm": dict.fromkeys(("all_gather", "is_main_process", "synchronize")),
        "detectron2.utils.file_io": {"PathManager": None},
        "detectron2.evaluation": {},
        "detectron2.evaluation.evaluator": {"DatasetEvaluator": object},
    }
    for name, content in parts.items():
        module = types.ModuleType(name)
        vars(module).update(content)
        sys.modules[name] = module
    file = checkout / "gres_model/evaluation/refer_evaluation.py"
    spec = importlib.util.spec_from_file_location("refer_evaluation", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ReferEvaluator


def random_case(random: np.random.Generator, frames: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(truth, prediction) of each expression, bool [T, H, W] both; an empty truth refers to nothing."""
    pairs = []
    for _ in range(int(random.integers(2, 12))):
        truth = np.zeros((frames, *SIZE), bool)
        if random.random() < 0.6:
            y, x = random.integers(0, 12, 2)
            truth[:, y : y + random.integers(1, 12), x : x + random.integers(1, 16)] = True
        kind = random.choice(["equal", "empty", "noise", "shifted", "last frame"])
        prediction = {
            "equal": truth,
            "empty": truth & False,
            "noise": random.random(truth.shape) < 0.1,
            "shifted": np.roll(truth, random.integers(1, 4), axis=2),
            "last frame": np.concatenate([truth[:-1] & False, ~truth[-1:]]),
        }[kind]
        pairs.append((truth, prediction))
    has_target = {bool(truth.any()) for truth, _ in pairs}
    return pairs if len(has_target) == 2 else random_case(random, frames)


def ours(pairs: list[tuple[np.ndarray, np.ndarray]], folder: Path) -> dict[str, float]:
    """The summary of the protocol `mevis`, from files."""
    names = [f"{t:05d}" for t in range(len(pairs[0][0]))]
    expressions = {str(e): {"exp": "x", "anno_id": [e] if t.any() else []} for e, (t, _) in enumerate(pairs)}
    (folder / "gt").mkdir()
    content = {"videos": {"v": {"expressions": expressions, "frames": names}}}
    (folder / "gt/meta_expressions_v2.json").write_text(json.dumps(content))
    masks = {str(e): encode(truth) for e, (truth, _) in enumerate(pairs) if truth.any()}
    (folder / "gt/mask_dict.json").write_text(json.dumps(masks))
    for e, (_, prediction) in enumerate(pairs):
        for name, mask in zip(names, prediction, strict=True):
            path = folder / "pred/v" / str(e) / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png.encode(mask))
    return MevisProtocol().evaluate(folder / "gt", folder / "pred", 1).summary


def theirs(pairs: list[tuple[np.ndarray, np.ndarray]], evaluator_class) -> dict[str, float]:
    """The results of the official evaluator."""
    evaluator = evaluator_class("random", distributed=False)
    evaluator.reset()
    inputs, outputs = [], []
    for e, (truth, prediction) in enumerate(pairs):
        sentence = {"raw": str(e)}
        inputs.append({"image_id": e, "source": "grefcoco", "sentence": sentence, "empty": not truth.any()})
        inputs[-1]["gt_mask_merged"] = torch.from_numpy(truth.astype(np.uint8))
        scores = torch.from_numpy(np.stack([~prediction, prediction]).astype(np.float32))
        empty = float(not prediction.any())
        outputs.append({"ref_seg": scores, "nt_label": torch.tensor([1 - empty, empty])})
    evaluator.process(inputs, outputs)
    return evaluator.evaluate()["grefcoco"]


def main() -> None:
    """Compares random cases and prints the largest differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    evaluator, random = official(arguments.checkout), np.random.default_rng(arguments.seed)
    worst, expressions = {"N-acc": 0.0, "T-acc": 0.0, "IoU": 0.0}, 0
    for case in range(arguments.cases):
        pairs = random_case(random, frames=1 if case % 2 else 3)
        expressions += len(pairs)
        with tempfile.TemporaryDirectory() as folder:
            mine, other = ours(pairs, Path(folder)), theirs(pairs, evaluator)
        compared = {"N-acc": other["N_acc"], "T-acc": other["T_acc"]}
        if len(pairs[0][0]) == 1:
            compared["IoU"], mine["IoU"] = other["gIoU"] / 100, mine["J-Mean"]
        worst |= {key: max(worst[key], abs(mine[key] - value)) for key, value in compared.items()}
    print(f"{arguments.cases} cases, {expressions} expressions; largest differences:")
    for key, value in worst.items():
        print(f"  {key:6} {value:.1e}")
    if max(worst.values()) > TOLERANCE:
        raise SystemExit(f"differences above {TOLERANCE}")


if __name__ == "__main__":
    main()
