"""The training task of the judge, and its settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.settings import number, whole
from rvos_ensemble.adapters.core.settings import text as text_setting
from rvos_ensemble.adapters.inference import preprocess
from rvos_ensemble.adapters.inference.checkpoints.checkpoint import open_checkpoint
from rvos_ensemble.adapters.inference.checkpoints.weights import mismatches
from rvos_ensemble.adapters.inference.tokenization import tokenize
from rvos_ensemble.adapters.networks.grounding.judge import Judge
from rvos_ensemble.adapters.networks.grounding.tracklets import paths_of, shares
from rvos_ensemble.adapters.networks.grounding.variants import JUDGES
from rvos_ensemble.adapters.training.grounding import initial_network
from rvos_ensemble.adapters.training.judge.samples import JudgeSample, MevisReferring, RenderedReferring, tracklets_of
from rvos_ensemble.adapters.training.loop import settings as common
from rvos_ensemble.adapters.training.loop.task import TrainingTask

DEFAULTS: dict[str, Any] = {
    "variant": text_setting("judge"),  # one of adapters.networks.grounding.variants.JUDGES
    "data": common.DATA,  # a folder has the layout of MeViS; `shapes` is rendered with the expressions of MeViSv2
    "frames": common.FRAMES.at(12),  # per sample, spread over the clip; the paths of tracklets use all of them
    "looks": whole(4, least=1),  # number of these frames that the visual encoder sees
    "sentences": common.SENTENCES.at(20),  # per sample, at most
    "size": common.SIZE.at([360, 640]),  # (height, width) of the frames
    "presence": common.WEIGHT.at(1.0),  # weight of the loss of the decision, relative to that of the matches
    "dropout": number(0.1, least=0, most=0.99),
    "weights": common.FILE,  # a judge, or a grounding network of the same sizes, to start from
    **initial_network.SETTINGS,
    "held_out": common.CLIPS.at(40),  # clips used for validation
    "optimizer": common.DEFAULTS["optimizer"].at("adam"),
    "lr": common.DEFAULTS["lr"].at(4e-5),
    "weight_decay": common.DEFAULTS["weight_decay"].at(1e-4),
    "seed": common.DEFAULTS["seed"],
}


def make_task(name: str, settings: dict[str, Any], score: Callable | None = None) -> JudgeTask:
    """Makes the training task that settings describe; there is nothing to `score`, because masks are not predicted."""
    return JudgeTask(settings)


class JudgeTask(TrainingTask):
    """Training of a judge.

    Args:
        settings: values for `DEFAULTS`.

    Raises:
        InputError: unknown variant, or data or weights that cannot be read.
    """

    def __init__(self, settings: dict[str, Any]):
        self.settings = settings
        self.variant, self.tokenizer, matcher = initial_network.make(settings, JUDGES, "train judge")
        self.network = Judge(matcher)
        if settings["weights"]:
            load_initial(self.network, settings["weights"])
        self.training_clips = JudgedClips(self, settings["seed"], "train")
        self.nothing = self.training_clips.clips.nothing  # share of the expressions that refer to nothing
        # Only `shapes` has other clips for validation.
        self.held_out = JudgedClips(self, settings["seed"], "val") if settings["data"] == "shapes" else None

    def samples(self) -> torch.utils.data.Dataset:
        return self.training_clips

    def rates(self) -> dict[str, float]:
        """See `TrainingTask.rates`."""
        return initial_network.rates(self.settings, "matcher.")

    def collate(self, samples: list[JudgeSample]) -> list[dict[str, Any]]:
        return [vars(sample) for sample in samples]

    def losses(self, batch: list[dict[str, Any]], step: int) -> dict[str, Tensor]:
        """Binary cross-entropy of every match, and of every decision.

        Decisions are weighted as if half of the expressions referred to nothing, so that the odds of every judge have
        the same meaning; the step `judge` adapts them to the data.
        """
        matches, decisions = [], []
        for sample in batch:
            logits, presence = self.logits(self.network, sample)
            target = present(sample["match"])
            weights = torch.where(target > 0, 0.5 / (1 - self.nothing), 0.5 / self.nothing)
            matches.append(F.binary_cross_entropy_with_logits(logits, sample["match"]))
            decisions.append(F.binary_cross_entropy_with_logits(presence, target, weights))
        weight = self.settings["presence"]
        return {"match": torch.stack(matches).mean(), "presence": weight * torch.stack(decisions).mean()}

    def logits(self, network: Judge, sample: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Logits of the matches [E, P] and of the presence [E] of one sample."""
        pooled = network.pool(sample["images"], sample["masks"])
        words = network.matcher.words(sample["rows"], self.variant.language)
        return network(pooled, words, sample["paths"])

    def validate(self, network: Judge) -> dict[str, float]:
        """On held-out clips: balanced accuracy of the decision, and the area under its ROC curve."""
        scores, truths = [], []
        device = next(network.parameters()).device
        for i in range(self.settings["held_out"] if self.held_out else 0):
            sample = self.collate([self.held_out[i]])[0]
            sample = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in sample.items()}
            scores += self.logits(network, sample)[1].tolist()
            truths += present(sample["match"]).bool().tolist()
        if not scores:
            return {}
        score, truth = np.array(scores), np.array(truths)
        accuracy = 0.5 * float((score[truth] > 0).mean() + (score[~truth] <= 0).mean())
        return {"Accuracy": accuracy, "AUC": area_under_curve(score, truth)}


class JudgedClips(torch.utils.data.Dataset):
    """Endless clips with simulated tracklets; sample i depends on the seed and on i alone.

    Args:
        task: its settings, network and tokenizer.
        seed: another seed gives other samples.
        split: "train", "val" or "test" of `shapes`.
    """

    def __init__(self, task: JudgeTask, seed: int, split: str):
        s = task.settings
        self.task, self.seed, self.split = task, seed, split
        size = tuple(s["size"])
        if s["data"] == "shapes":
            self.clips = RenderedReferring(seed, s["frames"], size, split)
        else:
            self.clips = MevisReferring(s["data"], seed, s["frames"], size)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> JudgeSample:
        s, task, clip = self.task.settings, self.task, self.clips[index]
        rng = np.random.default_rng([self.seed, index, self.split == "val"])
        size = clip.images.shape[1:3]
        expressions = [clip.expressions[i] for i in rng.permutation(len(clip.expressions))[: s["sentences"]]]
        tracklets, match = tracklets_of(clip, expressions, rng)  # [T, P, H, W], [E, P]
        map_size = task.network.matcher.map_size(size)
        masks = torch.from_numpy(np.stack([[shares(mask, map_size) for mask in frame] for frame in tracklets]))
        times = np.sort(rng.permutation(len(masks))[: s["looks"]])
        return JudgeSample(
            torch.stack([preprocess.shrink(clip.images[t], size, "torchvision") for t in times]),
            masks[times],
            paths_of(masks, task.variant.points),
            tokenize(task.tokenizer, task.variant.language, [sentence for sentence, _ in expressions]),
            torch.from_numpy(match),
        )


def load_initial(network: Judge, path: str) -> None:
    """Loads the weights of a judge, or of a grounding network into its matcher.

    Raises:
        InputError: another network, or one of other sizes.
    """
    checkpoint = open_checkpoint(path)
    part = {"judge": network, "grounding": network.matcher}.get(checkpoint.family.name)
    if part is None:
        raise InputError(f"{path}: {checkpoint.describe(path)}, expected a judge or a grounding network")
    wrong = mismatches(checkpoint.weights, {k: tuple(v.shape) for k, v in part.state_dict().items()})
    if wrong:
        raise InputError(f"{path}: weights to start from, but {problem}" for problem in wrong)
    part.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in checkpoint.weights.items()})


def present(match: Tensor) -> Tensor:
    """Whether any tracklet matches, from matches [E, P] to 0 or 1 [E]: true objects are always among the tracklets."""
    return match.amax(1)


def area_under_curve(scores: np.ndarray, truths: np.ndarray) -> float:
    """Area under the ROC curve: the probability that a positive sample has a higher score than a negative one.

    Args:
        scores: float [N].
        truths: bool [N], with at least one of both kinds; otherwise the result is NaN.

    >>> area_under_curve(np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, False, True, True]))
    0.875
    """
    positive, negative = scores[truths], scores[~truths]
    if not len(positive) or not len(negative):
        return float("nan")
    higher = (positive[:, None] > negative).mean()
    return float(higher + 0.5 * (positive[:, None] == negative).mean())
