"""The training task of AOT and DeAOT, and its settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from rvos_ensemble.adapters.core.component import merge_settings
from rvos_ensemble.adapters.core.settings import number, switch, text, whole
from rvos_ensemble.adapters.training.loop import settings as common
from rvos_ensemble.adapters.training.loop.task import TrainingTask
from rvos_ensemble.adapters.training.norms import unfreeze_norms, without_counts
from rvos_ensemble.adapters.training.samples.folder import FolderClips, WholeVideos
from rvos_ensemble.adapters.training.samples.rendered import LENGTH, RenderedClips
from rvos_ensemble.adapters.training.samples.sample import VOID, Sample
from rvos_ensemble.propagators.inference.aot.tta import MEAN, STD
from rvos_ensemble.propagators.networks.encoders import freeze
from rvos_ensemble.propagators.networks.network import MAX_OBJECTS, VOSNetwork
from rvos_ensemble.propagators.networks.variants import VOSVariant, find_variant
from rvos_ensemble.propagators.training.clips import AugmentedClips, enlarged
from rvos_ensemble.propagators.training.forward import IDENTITIES, track
from rvos_ensemble.propagators.training.initial_weights import initialise, load_initial, set_drop_paths
from rvos_ensemble.propagators.training.losses import bootstrapped_cross_entropy, soft_jaccard
from rvos_ensemble.propagators.training.propagation import labels_of_clip

DEFAULTS: dict[str, Any] = {
    "variant": text(None),  # such as r50_deaotl; None: aot_nano or deaot_nano
    "data": common.DATA,  # a folder has the layout of YouTube-VOS or DAVIS
    "level": common.LEVEL,  # of `shapes`: easy, medium or hard; None uses all
    # a folder like `data` whose videos are single pictures, of which static clips are made; None: frames of `data`
    "pictures": common.FOLDER,
    "shapes": common.SHARE.at(0.0),  # share of video clips that are rendered instead of taken from the folder `data`
    # a folder like `data` for validation, one frame in 4; None: `shapes`, or no validation with a folder `data`
    "validation": common.FOLDER,
    "weights": common.FILE,  # initial weights of the whole network or of its encoder; None trains from scratch
    "encoder_only": switch(False),  # takes the encoder alone from `weights`, which may be those of the other network
    "frames": whole(5, least=2, most=10_000),  # per clip
    "size": common.SIZE.at(None),  # [H, W] of the frames; None uses the variant's training size
    # share of clips made of a static image; the official code trains with 1.0, then with 0.0 from those weights
    "static": common.SHARE.at(0.5),
    "collage": common.SHARE.at(0.5),  # share of these images that are collages of textures
    "merge": common.SHARE.at(0.3),  # share of video clips merged with another clip; static clips always are
    # largest view of a merged image, relative to the image: above 1, whole objects are small in front of another clip
    "widest": number(1.0, least=1, most=10),
    "window": number(0.45, above=0, most=1),  # smallest window that is cropped from a video, as a share of its side
    "twins": common.SHARE.at(0.0),  # share of clips with a copy of an object that does not count as the object
    "subset": common.SHARE.at(0.5),  # probability of leaving out some of the objects
    # number of places in the identity bank over which objects are distributed; 1 uses the first places in order
    "places": whole(MAX_OBJECTS, least=1, most=MAX_OBJECTS),
    "colour": common.SHARE.at(0.4),  # strength of the colour augmentation, 0 to 1
    # shares of clips with changing light, with blur, and with JPEG compression, as in footage
    "light": common.SHARE.at(0.0),
    "blur": common.SHARE.at(0.0),
    "compression": common.SHARE.at(0.0),
    "own": common.SHARE.at(0.5),  # share of the steps after which the network's own masks are remembered
    "hardest": number(0.15, above=0, most=1),  # final share of the pixels in the bootstrapped cross-entropy; first all
    "mining": common.SHARE.at(0.5),  # share of the steps over which it falls to that value
    "reference": common.WEIGHT.at(1.0),  # initial weight of the loss on the reference frame; it falls to 0
    "reference_until": number(1.0, least=0.001, most=1),  # share of the steps over which it falls
    # frames between two long-term memories; 0: only the reference frame; None: as the variant, 2 or 0
    "memory_gap": whole(None),
    # relative learning rate of the encoder; None: 0.1, or 1 from scratch
    "encoder_lr": common.RATE,
    "freeze_bn": switch(True).at(None),  # freezes the encoder's batch norms; None: only with initial weights
    # frozen parts of the encoder: 1 the stem, 2 also the first stage; None: 2, or 0 for nano variants or from scratch
    "frozen": whole(None, most=2),
    # probability of skipping a transformer block; None: 0.1 as published, 0 for small variants
    "drop_path": number(None, least=0, most=0.9),
    # probability of skipping the last block of a Swin encoder, less for earlier ones; None: 0.3 as published
    "encoder_drop_path": number(None, least=0, most=0.9),
    "validate_clips": common.CLIPS,
    "lr": common.DEFAULTS["lr"].at(4e-4),
    "steps": common.DEFAULTS["steps"].at(100000),
    "seed": common.DEFAULTS["seed"],
}
NO_DECAY = ("relative_emb_v", "relative_position_bias_table", "absolute_pos_embed", "conv_out", "mask_token")
VALIDATION_SIZE = (180, 320)
VALIDATION_STEP = 4  # frames of a folder's video; Ref-YouTube-VOS has 6 frames per second, video usually 24


def make_task(name: str, settings: Mapping[str, Any], score: Callable | None = None) -> PropagatorTask:
    """Makes the training task that settings describe.

    Args:
        name: aot or deaot.
        settings: values for `DEFAULTS`.
        score: see `PropagatorTask`.

    Raises:
        InputError: unknown settings, variant or data.
    """
    s = merge_settings(DEFAULTS, dict(settings), f"train propagator={name}")
    variant = find_variant(s["variant"] or f"{name}_nano", name)
    size = enlarged((s["size"] or variant.crop)[0])

    def clips(data: str, frames: int) -> Dataset:
        if data == "shapes":
            return RenderedClips(s["seed"], frames, size, level=s["level"])
        return FolderClips(data, frames, seed=s["seed"])

    held_out: Sequence[Sample] = ()
    if s["validation"]:
        held_out = WholeVideos(s["validation"], VALIDATION_STEP)
    elif s["data"] == "shapes":
        held_out = RenderedClips(0, LENGTH, VALIDATION_SIZE, "val", s["level"])
    videos, images = clips(s["data"], s["frames"]), clips(s["pictures"] or s["data"], 1)
    rendered = clips("shapes", s["frames"]) if s["shapes"] else None
    return PropagatorTask(variant, s, videos, images, held_out, score, rendered)


class PropagatorTask(TrainingTask):
    """Training of one variant of AOT or DeAOT.

    Args:
        variant: the variant.
        settings: values for `DEFAULTS`.
        videos: an endless data set of clips with `frames` frames.
        images: an endless data set of clips of one frame, from which static clips are made.
        held_out: clips for validation.
        score: metric of predicted and true masks, bool [T, H, W], such as J&F; None disables validation.
        rendered: an endless data set of clips of `shapes`, see `AugmentedClips`.

    Raises:
        InputError: weights that do not fit.
    """

    def __init__(
        self,
        variant: VOSVariant,
        settings: Mapping[str, Any],
        videos: Dataset,
        images: Dataset,
        held_out: Sequence[Sample] = (),
        score: Callable[[np.ndarray, np.ndarray], float] | None = None,
        rendered: Dataset | None = None,
    ):
        self.settings, self.score, self.held_out = settings, score, held_out
        self.clips = AugmentedClips(settings, tuple(settings["size"] or variant.crop), videos, images, rendered)
        torch.manual_seed(settings["seed"])
        self.network = initialise(VOSNetwork(variant))
        from_scratch = settings["weights"] is None
        if not from_scratch:
            load_initial(self.network, settings["weights"], settings["encoder_only"])
        self.encoder_lr = _default(settings["encoder_lr"], 1.0 if from_scratch else 0.1)
        unfrozen = from_scratch or variant.encoder == "resnet_nano"
        freeze(self.network.encoder, variant.encoder, _default(settings["frozen"], 0 if unfrozen else 2))
        encoder_drop_path = _default(settings["encoder_drop_path"], 0.3)
        set_drop_paths(self.network, _default(settings["drop_path"], 0.0 if variant.small else 0.1), encoder_drop_path)
        if not _default(settings["freeze_bn"], not from_scratch):
            unfreeze_norms(self.network.encoder)
        self.gap = _default(settings["memory_gap"], 2 if variant.memory_gap else 0) or None

    def samples(self) -> Dataset:
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
        """The optimizer's parameter groups as in the official code, see `TrainingTask.groups`."""
        groups: dict[tuple[float, float], list] = {}
        for name, weight in self.network.named_parameters():
            if weight.requires_grad:
                rate = self.encoder_lr if name.startswith("encoder.") else 1.0
                decay = 0.0 if weight.dim() < 2 or any(n in name for n in NO_DECAY) else weight_decay
                groups.setdefault((rate, decay), []).append(weight)
        return [{"params": p, "lr": lr * rate, "weight_decay": decay} for (rate, decay), p in groups.items()]

    def validate(self, network: VOSNetwork) -> dict[str, float]:
        """The mean score over objects and frames of held-out clips, from the true masks of the first frame."""
        scores = []
        for i in range(min(self.settings["validate_clips"], len(self.held_out))) if self.score else ():
            sample = self.held_out[i]
            objects = [i for i in np.unique(sample.ids[0]) if 0 < i < VOID]
            labels = labels_of_clip(network, sample.images, sample.ids[0], objects)
            scores += [self.score(labels[1:] == i, sample.ids[1:] == i) for i in objects]
        return {"J&F": float(np.mean(scores))} if scores else {}

    def checkpoint(self, state: dict[str, Tensor]) -> dict[str, Any]:
        return {"state_dict": without_counts(state)}


def _default(value: Any, default: Any) -> Any:
    return default if value is None else value


def _shuffled(places: int) -> Tensor:
    """Random places in the identity bank, [11]; background and the objects beyond `places` keep their own."""
    return torch.cat(
        [torch.zeros(1, dtype=torch.long), 1 + torch.randperm(places), torch.arange(places + 1, IDENTITIES)]
    )


def _normalised(images: Tensor) -> Tensor:
    """uint8 [..., H, W, 3] to normalised float32 [..., 3, H, W]."""
    mean, std = (torch.tensor(x, device=images.device) for x in (MEAN, STD))
    return ((images.float() / 255 - mean) / std).movedim(-1, -3)
