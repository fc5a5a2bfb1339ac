"""The training task of the grounding network, its samples and settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rvos_ensemble.adapters.core.settings import number, whole
from rvos_ensemble.adapters.core.settings import text as text_setting
from rvos_ensemble.adapters.inference import preprocess
from rvos_ensemble.adapters.inference.tokenization import tokenize
from rvos_ensemble.adapters.networks.grounding.grounding import Grounding
from rvos_ensemble.adapters.networks.grounding.tracklets import paths_of, shares
from rvos_ensemble.adapters.networks.grounding.variants import VARIANTS
from rvos_ensemble.adapters.training.grounding import initial_network
from rvos_ensemble.adapters.training.grounding.tracklets import simulate
from rvos_ensemble.adapters.training.language import check_words
from rvos_ensemble.adapters.training.loop import settings as common
from rvos_ensemble.adapters.training.loop.task import TrainingTask
from rvos_ensemble.adapters.training.samples.folder import FolderClips
from rvos_ensemble.adapters.training.samples.rendered import RenderedClips

DEFAULTS: dict[str, Any] = {
    "variant": text_setting("grounding"),  # one of adapters.networks.grounding.variants.VARIANTS
    "data": common.DATA,  # a folder has the layout of Ref-YouTube-VOS
    "frames": common.FRAMES.at(8),  # per sample, spread over the clip; tracklet paths use all of them
    "looks": whole(4, least=1),  # number of these frames that the visual encoder sees
    "sentences": common.SENTENCES.at(8),  # per sample, at most
    "size": common.SIZE.at([360, 640]),  # (height, width) of the frames
    # share of samples without paths, for networks that use paths: single images have none
    "pathless": common.SHARE.at(0.2),
    "dropout": number(0.1, least=0, most=0.99),  # 0 for runs that are too short to overfit
    **initial_network.SETTINGS,
    "held_out": common.CLIPS.at(40),  # clips used for validation
    "optimizer": common.DEFAULTS["optimizer"].at("adam"),
    "lr": common.DEFAULTS["lr"].at(4e-5),
    "drops": common.DEFAULTS["drops"].at([0.67]),
    "drop": common.DEFAULTS["drop"].at(0.25),  # to 1e-5
    "weight_decay": common.DEFAULTS["weight_decay"].at(1e-4),
    "seed": common.DEFAULTS["seed"],
}


def make_task(name: str, settings: dict[str, Any], score: Callable | None = None) -> GroundingTask:
    """Makes the training task that settings describe; there is nothing to `score`, because masks are not predicted."""
    return GroundingTask(settings)


class GroundingTask(TrainingTask):
    """Training of a grounding network.

    Args:
        settings: values for `DEFAULTS`.

    Raises:
        InputError: unknown variant, or data or weights that cannot be read.
    """

    def __init__(self, settings: dict[str, Any]):
        self.settings = settings
        self.variant, self.tokenizer, self.network = initial_network.make(settings, VARIANTS, "train grounding")
        self.training_clips = TrackletClips(self, settings["seed"], "train")
        # Only `shapes` has other clips for validation.
        self.held_out = TrackletClips(self, settings["seed"], "val") if settings["data"] == "shapes" else None

    def samples(self) -> torch.utils.data.Dataset:
        return self.training_clips

    def rates(self) -> dict[str, float]:
        """See `TrainingTask.rates`."""
        return initial_network.rates(self.settings)

    def collate(self, samples: list[TrackletSample]) -> list[dict[str, Any]]:
        return [vars(sample) for sample in samples]

    def losses(self, batch: list[dict[str, Any]], step: int) -> dict[str, Tensor]:
        """Cross-entropy over the tracklets in every frame."""
        terms = []
        for sample in batch:
            with_paths = torch.rand(()).item() >= self.settings["pathless"]
            logits = self.logits(self.network, sample, with_paths)
            target = sample["target"][:, None].expand(-1, logits.shape[1])
            terms.append(F.cross_entropy(logits.flatten(0, 1), target.flatten()))
        return {"grounding": torch.stack(terms).mean()}

    def logits(self, network: Grounding, sample: dict[str, Any], with_paths: bool = True) -> Tensor:
        """Logits of the tracklets of one sample, [E, T, P]."""
        objects = network.pool(sample["images"], sample["masks"])
        words = network.words(sample["rows"], self.variant.language)
        return network(objects, words, sample["paths"] * with_paths)

    def validate(self, network: Grounding) -> dict[str, float]:
        """Accuracy on held-out clips, and the accuracy of a random choice: the mean of 1 / number of tracklets."""
        correct, chance = [], []
        device = next(network.parameters()).device
        for i in range(self.settings["held_out"] if self.held_out else 0):
            sample = self.collate([self.held_out[i]])[0]
            sample = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in sample.items()}
            choice = self.logits(network, sample).softmax(2).mean(1).argmax(1)
            correct += (choice == sample["target"]).tolist()
            chance += [1 / sample["masks"].shape[1]] * len(choice)
        return {"Accuracy": float(np.mean(correct)), "Chance": float(np.mean(chance))} if correct else {}


@dataclass(frozen=True)
class TrackletSample:
    """A clip with P tracklets and E expressions.

    Attributes:
        images: normalised frames that the visual encoder sees, float [looks, 3, H, W].
        masks: tracklets in these frames, float [looks, P, h, w].
        paths: of the tracklets in all frames, float [P, points, 4].
        rows: token numbers of each expression.
        target: int64 [E], the tracklet to which each expression refers.
    """

    images: Tensor
    masks: Tensor
    paths: Tensor
    rows: list[list[int]]
    target: Tensor


class TrackletClips(torch.utils.data.Dataset):
    """Endless clips with simulated tracklets; sample i depends on the seed and on i alone.

    Args:
        task: its settings, network and tokenizer.
        seed: another seed gives other samples.
        split: "train", "val" or "test" of `shapes`.
    """

    def __init__(self, task: GroundingTask, seed: int, split: str):
        s = task.settings
        self.task, self.seed, self.split = task, seed, split
        size = tuple(s["size"])
        if s["data"] == "shapes":
            self.clips = RenderedClips(seed, s["frames"], size, split, spread=True)
        else:
            self.clips = FolderClips(s["data"], s["frames"], size, seed, spread=True, with_expressions=True)
            if task.variant.small:
                check_words(task.tokenizer, task.variant.language, self.clips)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> TrackletSample:
        s, task, clip = self.task.settings, self.task, self.clips[index]
        rng = np.random.default_rng([self.seed, index, self.split == "val"])
        size = clip.images.shape[1:3]
        tracklets = simulate(clip.ids, rng)  # [T, P, H, W]
        order = rng.permutation(len(tracklets[0]))
        position = np.argsort(order)  # of each object among the tracklets
        map_size = task.network.map_size(size)
        masks = torch.from_numpy(np.stack([[shares(frame[i], map_size) for i in order] for frame in tracklets]))
        times = np.sort(rng.permutation(len(masks))[: s["looks"]])
        expressions = [clip.expressions[i] for i in rng.permutation(len(clip.expressions))[: s["sentences"]]]
        return TrackletSample(
            torch.stack([preprocess.shrink(clip.images[t], size, "torchvision") for t in times]),
            masks[times],
            paths_of(masks, task.variant.points),
            tokenize(task.tokenizer, task.variant.language, [sentence for sentence, _ in expressions]),
            torch.tensor([position[own - 1] for _, own in expressions]),
        )
