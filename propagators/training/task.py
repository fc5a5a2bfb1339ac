"""AOT and DeAOT as something to train: their samples, losses and validation, by the published recipe.

Two kinds of samples: clips made of one picture (the first stage of the official code) and clips of video (its second
stage); the share of the first is a setting. In the first part of a training frames are remembered under their true
masks, later under the network's own.

`DEFAULTS` serve small networks that start from nothing; docs/training.md has the published values.

Source: Yang et al. (AOT), NeurIPS 2021; Yang and Yang (DeAOT), NeurIPS 2022.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from rvos_ensemble.adapters.core.component import merge_settings
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.settings import number, switch, text, whole
from rvos_ensemble.adapters.inference.weights import mismatches, read_weights
from rvos_ensemble.adapters.networks.backbones.swin import SwinBlock
from rvos_ensemble.adapters.networks.layers import DropPath
from rvos_ensemble.adapters.training.loop import loop
from rvos_ensemble.adapters.training.loop.settings import CLIPS, DATA, FILE, LEVEL, RATE, SHARE, SIZE, WEIGHT
from rvos_ensemble.adapters.training.loop.task import TrainingTask
from rvos_ensemble.adapters.training.norms import unfreeze_norms, without_counts
from rvos_ensemble.adapters.training.samples import augment
from rvos_ensemble.adapters.training.samples.collage import collage
from rvos_ensemble.adapters.training.samples.samples import LENGTH, FolderClips, RenderedClips, Sample
from rvos_ensemble.propagators.inference.tta import MEAN, STD
from rvos_ensemble.propagators.networks.attention import RADIUS
from rvos_ensemble.propagators.networks.encoders import freeze
from rvos_ensemble.propagators.networks.network import MAX_OBJECTS, VOSNetwork
from rvos_ensemble.propagators.networks.variants import Variant, find_variant
from rvos_ensemble.propagators.training.forward import IDENTITIES, track
from rvos_ensemble.propagators.training.losses import bootstrapped_cross_entropy, soft_jaccard
from rvos_ensemble.propagators.training.propagation import labels_of_clip

DEFAULTS: dict[str, Any] = {
    "variant": text(None),  # such as r50_deaotl; None: aot_nano or deaot_nano
    "data": DATA,  # rendered on the fly; or a folder in the layout of YouTube-VOS or DAVIS
    "level": LEVEL,  # of shapes: easy, medium or hard; None: all
    "weights": FILE,  # to start from: of the whole network, or of its encoder alone; None: from nothing
    "frames": whole(5, least=2, most=10_000),  # of a clip
    "size": SIZE.at(None),  # [H, W] of the pictures; None: as the variant is trained
    "static": SHARE.at(0.5),  # share of clips made of one picture; the official code: 1.0, then 0.0 from those weights
    "collage": SHARE.at(0.5),  # share of these pictures that are collages of textures
    "merge": SHARE.at(0.3),  # share of video clips that get the objects of another; those of one picture always do
    "subset": SHARE.at(0.5),  # how often some objects are left to the background
    # of the identity bank that objects are spread over; 1: the first, as many as there are
    "places": whole(MAX_OBJECTS, least=1, most=MAX_OBJECTS),
    "colour": SHARE.at(0.4),  # strength of changed colours, 0 to 1
    "own": SHARE.at(0.5),  # share of the steps after which the network's own masks are remembered
    "hardest": number(0.15, above=0, most=1),  # share of the pixels whose cross-entropy counts in the end; at first all
    "mining": SHARE.at(0.5),  # share of the steps in which it falls to that
    "reference": WEIGHT.at(1.0),  # weight of the loss on the reference frame, falling to 0
    "reference_until": number(1.0, least=0.001, most=1),  # share of the steps over which it falls
    # frames between two long-term memories; 0: the reference alone; None: as the variant, 2 or 0
    "memory_gap": whole(None),
    # learning rate of the encoder, relative; None: 0.1, or 1 from nothing
    "encoder_lr": RATE,
    "freeze_bn": switch(True).at(None),  # batch norms of the encoder as they are; None: yes, or no from nothing
    # of the encoder: 1, the stem stays as it is; 2, the first stage too; None: 2, or 0 if small or new
    "frozen": whole(None, most=2),
    # how often a block of the transformer adds nothing; None: 0.1 as published, 0 if small
    "drop_path": number(None, least=0, most=0.9),
    # likewise of the last block of a Swin, less of those before; None: 0.3 as published
    "encoder_drop_path": number(None, least=0, most=0.9),
    "validate_clips": CLIPS,
    "lr": loop.DEFAULTS["lr"].at(4e-4),
    "steps": loop.DEFAULTS["steps"].at(100000),
    "seed": loop.DEFAULTS["seed"],
}
LARGER = 1.3  # height of rendered clips and collages over that of the crops; they are 16:9
NO_DECAY = ("relative_emb_v", "relative_position_bias_table", "absolute_pos_embed", "conv_out", "mask_token")


def trainee(name: str, settings: Mapping[str, Any], score: Callable | None = None) -> PropagatorTrainee:
    """The training that settings describe.

    Args:
        name: propagator, aot or deaot.
        settings: values for `DEFAULTS`, and what is said of the whole training: `steps` and `seed`.
        score: see `PropagatorTrainee`.

    Raises:
        InputError: unknown settings, variant or data.
    """
    s = merge_settings(DEFAULTS, dict(settings), f"train propagator={name}")
    variant = find_variant(s["variant"] or f"{name}_nano", name)
    if s["data"] == "shapes":
        size = _larger((s["size"] or variant.crop)[0])
        videos, pictures = (RenderedClips(s["seed"], n, size, level=s["level"]) for n in (s["frames"], 1))
        held_out = RenderedClips(0, LENGTH, (180, 320), "val", s["level"])
    else:
        videos, pictures = (FolderClips(s["data"], n, seed=s["seed"]) for n in (s["frames"], 1))
        held_out = None
    return PropagatorTrainee(variant, s, videos, pictures, held_out, score)


class PropagatorTrainee(TrainingTask):
    """One variant in training.

    Args:
        variant: which.
        settings: see `DEFAULTS`.
        videos: clips of `frames` frames, by number without end.
        pictures: clips of one frame, by number without end, to make clips of.
        held_out: clips for validation.
        score: (predicted, true) bool [T, H, W] to a number such as J&F; None: no validation.

    Raises:
        InputError: weights that do not fit.
    """

    def __init__(
        self,
        variant: Variant,
        settings: Mapping[str, Any],
        videos: Dataset,
        pictures: Dataset,
        held_out: Sequence[Sample] = (),
        score: Callable[[np.ndarray, np.ndarray], float] | None = None,
    ):
        self.settings, self.score, self.held_out = settings, score, held_out
        self.clips = Clips(settings, tuple(settings["size"] or variant.crop), videos, pictures)
        torch.manual_seed(settings["seed"])
        self.network = initial(VOSNetwork(variant))
        fresh = settings["weights"] is None
        if not fresh:
            start_from(self.network, settings["weights"])
        self.encoder_lr = _chosen(settings["encoder_lr"], 1.0 if fresh else 0.1)
        small = variant.encoder == "resnet_nano"
        freeze(self.network.encoder, variant.encoder, _chosen(settings["frozen"], 0 if fresh or small else 2))
        within = _chosen(settings["encoder_drop_path"], 0.3)
        drop_paths(self.network, _chosen(settings["drop_path"], 0.0 if small else 0.1), within)
        if not _chosen(settings["freeze_bn"], not fresh):
            unfreeze_norms(self.network.encoder)
        self.gap = _chosen(settings["memory_gap"], 2 if variant.memory_gap else 0) or None

    def samples(self) -> Clips:
        return self.clips

    def collate(self, samples: list[Sample]) -> dict[str, Tensor]:
        """images uint8 [B, T, H, W, 3], labels uint8 [B, T, H, W]; number of objects int64 [B]."""
        ids = np.stack([s.ids for s in samples])
        objects = [int(x[x <= MAX_OBJECTS].max(initial=0)) for x in ids[:, 0]]
        images = torch.from_numpy(np.stack([s.images for s in samples]))
        return {"images": images, "labels": torch.from_numpy(ids), "objects": torch.tensor(objects)}

    def losses(self, batch: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        s = self.settings
        share = step / s["steps"]
        labels, objects = batch["labels"].long(), batch["objects"]
        places = torch.stack([_shuffled(max(s["places"], n)) for n in objects.tolist()]).to(labels.device)
        images = _normalised(batch["images"])
        logits = track(self.network, images, labels, objects, share >= s["own"], self.gap, places).float()
        hardest = 1 - (1 - s["hardest"]) * min(1.0, share / s["mining"]) if s["mining"] else s["hardest"]
        reference = s["reference"] * max(0.0, 1 - share / s["reference_until"])
        weights = torch.full(labels.shape[:2], 1 / (labels.shape[1] - 1), device=labels.device)
        weights[:, 0] = reference
        weights = (0.5 * weights / len(labels)).flatten()
        logits, labels = logits.flatten(0, 1), labels.flatten(0, 1)
        return {
            "cross_entropy": (weights * bootstrapped_cross_entropy(logits, labels, hardest)).sum(),
            "jaccard": (weights * soft_jaccard(logits, labels)).sum(),
        }

    def groups(self, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        groups: dict[tuple[float, float], list] = {}
        for name, weight in self.network.named_parameters():
            if weight.requires_grad:
                slower = self.encoder_lr if name.startswith("encoder.") else 1.0
                decay = 0.0 if weight.dim() < 2 or any(n in name for n in NO_DECAY) else weight_decay
                groups.setdefault((slower, decay), []).append(weight)
        return [{"params": p, "lr": lr * slower, "weight_decay": d} for (slower, d), p in groups.items()]

    def validate(self, network: VOSNetwork) -> dict[str, float]:
        """The mean score over objects and frames of held-out clips, from the first frame's true masks."""
        found = []
        for i in range(self.settings["validate_clips"]) if self.score and self.held_out else ():
            sample = self.held_out[i]
            objects = [i for i in np.unique(sample.ids[0]) if 0 < i < augment.VOID]
            labels = labels_of_clip(network, sample.images, sample.ids[0], objects)
            found += [self.score(labels[1:] == i, sample.ids[1:] == i) for i in objects]
        return {"J&F": float(np.mean(found))} if found else {}

    def checkpoint(self, state: dict[str, Tensor]) -> dict[str, Any]:
        return {"state_dict": without_counts(state)}


class Clips(Dataset):
    """The samples of a training: of video or of one picture, changed at random."""

    def __init__(self, settings: Mapping[str, Any], size: tuple[int, int], videos: Dataset, pictures: Dataset):
        self.settings, self.size, self.videos, self.pictures = settings, size, videos, pictures

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, i: int) -> Sample:
        s = self.settings
        rng = np.random.default_rng([s["seed"], i])
        static = rng.random() < s["static"]
        make = self._static if static else self._video
        for part in range(4):  # until there is an object in the first frame
            sample = make(8 * i + 2 * part, rng)
            if static or rng.random() < s["merge"]:
                sample = augment.paste(sample, make(8 * i + 2 * part + 1, rng))
            sample = augment.relabel(sample, rng, MAX_OBJECTS, s["subset"])
            if sample.ids[0].any():
                break
        return augment.colour(sample, rng, s["colour"]) if s["colour"] else sample

    def _static(self, i: int, rng: np.random.Generator) -> Sample:
        s = self.settings
        picture = collage(_larger(self.size[0]), rng) if rng.random() < s["collage"] else self.pictures[i]
        return augment.pseudo_video(picture, s["frames"], self.size, rng)

    def _video(self, i: int, rng: np.random.Generator) -> Sample:
        sample = augment.crop(self.videos[i], self.size, rng)
        if rng.random() < 0.5:
            sample = Sample(sample.images[::-1], sample.ids[::-1], ())
        return sample


def initial(network: VOSNetwork) -> VOSNetwork:
    """First weights: Xavier as in the official code, but for two parts that a short training would spend its time on.

    The identity bank starts as the share of a patch that an object covers, times a code for it; the local window as
    one that looks near its centre.
    """
    for name, weight in network.named_parameters():
        if name == "patch_wise_id_bank.weight":
            codes = nn.init.orthogonal_(torch.empty(weight.shape[:2])) * len(weight) ** 0.5
            weight.data.copy_(codes[..., None, None] / weight[0, 0].numel())
        elif name.endswith("relative_emb_k.bias"):
            weight.data.copy_((-_OFFSETS / (2 * SPREAD**2)).repeat(len(weight) // len(_OFFSETS)))
        elif weight.dim() > 1 and name.startswith("encoder."):
            nn.init.kaiming_normal_(weight, mode="fan_out")
        elif weight.dim() > 1 and "mask_token" not in name:
            nn.init.xavier_uniform_(weight)
    return network


def drop_paths(network: VOSNetwork, rate: float, encoder: float) -> None:
    """Sets how often blocks add nothing while they are trained.

    Args:
        network: its blocks all get `rate`.
        encoder: rate of the last block of a whole Swin, whose last stage of two blocks is not there; from 0 at the
            first it rises evenly. Blocks that are frozen never drop.
    """
    for module in network.LSTT.modules():
        if isinstance(module, DropPath):
            module.rate = rate
    blocks = [m for m in network.encoder.modules() if isinstance(m, SwinBlock)]
    for i, block in enumerate(blocks):
        trained = any(weight.requires_grad for weight in block.parameters())
        block.drop_path.rate = trained * encoder * i / (len(blocks) + 1)


SPREAD = 2.0  # tokens
_STEPS = torch.arange(-RADIUS, RADIUS + 1.0) ** 2
_OFFSETS = (_STEPS[:, None] + _STEPS).flatten()  # squared distance of each place of the window


def _larger(height: int) -> tuple[int, int]:
    """The size (H, W) of pictures that windows of that height are taken from."""
    return round(LARGER * height), round(LARGER * height * 16 / 9)


def _chosen(given, otherwise):
    return otherwise if given is None else given


def start_from(network: VOSNetwork, path: str) -> None:
    """Loads the weights of the whole network, or of its encoder alone.

    Raises:
        InputError: what is missing or of another shape.
    """
    weights = read_weights(path, "weights to start from")
    whole = any(k.startswith("LSTT.") for k in weights)
    part = network if whole else network.encoder
    wanted = {k: tuple(v.shape) for k, v in part.state_dict().items()}
    known = weights
    if not whole:  # a classifier has a last layer more, and a Swin of pictures no norms of its maps
        known = {k: v for k, v in weights.items() if k in wanted}
        wanted = {k: shape for k, shape in wanted.items() if k in known or not re.match(r"norm\d\.", k)}
    problems = mismatches(known, wanted)
    if problems:
        raise InputError(
            [f"{path}: as the {'network' if whole else 'encoder'} of {network.variant.name}: {p}" for p in problems]
        )
    part.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in known.items()}, strict=whole)


def _shuffled(places: int) -> Tensor:
    """Random places in the bank for the first objects, among the first, [11]; background and others keep theirs."""
    return torch.cat(
        [torch.zeros(1, dtype=torch.long), 1 + torch.randperm(places), torch.arange(places + 1, IDENTITIES)]
    )


def _normalised(images: Tensor) -> Tensor:
    """uint8 [..., H, W, 3] to float32 [..., 3, H, W]."""
    mean, std = (torch.tensor(x, device=images.device) for x in (MEAN, STD))
    return ((images.float() / 255 - mean) / std).movedim(-1, -3)
