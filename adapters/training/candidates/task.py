"""The training task of the candidate network, and its settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatch
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from rvos_ensemble.adapters.core.component import merge_settings
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.settings import choice, number, switch, text, whole
from rvos_ensemble.adapters.inference import preprocess
from rvos_ensemble.adapters.inference.checkpoints.checkpoint import open_checkpoint
from rvos_ensemble.adapters.inference.checkpoints.weights import mismatches, read_weights
from rvos_ensemble.adapters.networks.candidates.network import MULTIPLE, CandidateNetwork
from rvos_ensemble.adapters.training.candidates.losses import losses
from rvos_ensemble.adapters.training.candidates.samples import CandidateFrames
from rvos_ensemble.adapters.training.candidates.targets import Targets, joined, targets_of
from rvos_ensemble.adapters.training.candidates.validation import collages, measures, middle_frames
from rvos_ensemble.adapters.training.loop import settings as common
from rvos_ensemble.adapters.training.loop.task import TrainingTask
from rvos_ensemble.adapters.training.norms import unfreeze_norms, without_counts
from rvos_ensemble.adapters.training.samples.folder import FolderClips
from rvos_ensemble.adapters.training.samples.rendered import RenderedClips
from rvos_ensemble.adapters.training.samples.sample import Sample

FROZEN = 4  # blocks of MobileNetV2 up to stride 4
RENDERED_SIZE = (270, 480)  # of rendered frames
LOGGED = "IoU@3", "IoU@10", "R50@10", "R70@10"  # of `validation.measures`

DEFAULTS: dict[str, Any] = {
    "data": common.DATA,  # a folder has the layout of YouTube-VOS or DAVIS
    "level": common.LEVEL,  # of `shapes`: easy, medium or hard; None uses all
    "pictures": common.FOLDER,  # a folder like `data` whose videos are single pictures; None: `data` alone
    "parts": text("*-garments"),  # names of videos whose labels are parts of objects, which are left out
    "shapes": common.SHARE.at(0.1),  # share of frames that are rendered instead of taken from the folder `data`
    "validation": common.FOLDER,  # a folder like `data`; None: `shapes`, or no validation with a folder `data`
    "weights": common.FILE,  # initial weights of the whole network, or of a MobileNetV2; None trains from scratch
    "channels": choice(64, 16, 32, 48, 96, 128),  # width of the network, unless `weights` are those of a whole one
    "short_side": whole(288, least=32, most=4096),  # of the frames when the trained network is used, pixels
    "size": common.SIZE.at([192, 320]),  # [H, W] of the training frames, multiples of 32
    "plain": common.SHARE.at(0.3),  # share of frames without pasted objects
    "backgrounds": common.SHARE.at(0.25),  # share of frames of `pictures`; the others are of `data`
    "pasted": whole(5, least=1, most=10),  # largest number of pasted objects
    "distractors": common.SHARE.at(0.2),  # share of them that are pieces of background, which are no objects
    "window": number(0.45, above=0, most=1),  # smallest window that is cropped, as a share of the frame's side
    "colour": common.SHARE.at(0.4),  # strength of the colour augmentation, 0 to 1
    # shares of frames with changed light, with blur, and with JPEG compression, as in footage
    "light": common.SHARE.at(0.3),
    "blur": common.SHARE.at(0.2),
    "compression": common.SHARE.at(0.3),
    "encoder_lr": common.RATE,  # relative learning rate of MobileNetV2; None: 0.2, or 1 from scratch
    "freeze_bn": switch(True).at(None),  # freezes the batch norms of MobileNetV2; None: only with initial weights
    "frozen": whole(None, most=18),  # first blocks of MobileNetV2 that are frozen; None: 4, or 0 from scratch
    "validate_clips": common.CLIPS.at(24),  # collages, or frames of `shapes`, that are used for validation
    "batch": common.DEFAULTS["batch"].at(8),
    "lr": common.DEFAULTS["lr"].at(1e-3),
    "steps": common.DEFAULTS["steps"].at(6000),
    "seed": common.DEFAULTS["seed"],
}


def make_task(name: str, settings: Mapping[str, Any], score: Callable | None = None) -> CandidateTask:
    """Makes the training task that settings describe.

    Args:
        name: candidates.
        settings: values for `DEFAULTS`.
        score: not used; validation measures the overlap with objects.

    Raises:
        InputError: unknown settings, data or weights that do not fit.
    """
    s = merge_settings(DEFAULTS, dict(settings), "train candidates", size_problems)
    rendered = RenderedClips(s["seed"], 1, RENDERED_SIZE, level=s["level"])
    if s["data"] == "shapes":
        held_out = RenderedClips(0, 1, RENDERED_SIZE, "val", s["level"])
        frames = {"Rendered": [held_out[i] for i in range(s["validate_clips"])]} if not s["validation"] else {}
        videos = rendered
    else:
        frames, videos = {}, whole_objects(s["data"], s)
    if s["validation"]:
        real = middle_frames(s["validation"])
        frames = {"Frame": real, "Collage": collages(real, s["validate_clips"])}
    pictures = whole_objects(s["pictures"], s) if s["pictures"] else videos
    return CandidateTask(s, videos, pictures, frames, rendered)


def whole_objects(root: str, settings: Mapping[str, Any]) -> FolderClips:
    """Frames of a folder, without the videos whose labels are parts of objects.

    Raises:
        InputError: see `FolderClips`; or all videos are left out.
    """
    clips = FolderClips(root, 1, seed=settings["seed"])
    clips.videos = [v for v in clips.videos if not fnmatch(v.masks[0].parent.name, settings["parts"])]
    if not clips.videos:
        raise InputError(f"{root}: the setting `parts` ({settings['parts']}) leaves out every video; use another one")
    return clips


def size_problems(settings: Mapping[str, Any]) -> list[str]:
    """What is wrong with the size of the frames."""
    if any(n % MULTIPLE for n in settings.get("size", ())):
        return [f"train candidates: `size` is {settings['size']}, expected multiples of {MULTIPLE}"]
    return []


class CandidateTask(TrainingTask):
    """Training of a candidate network.

    Args:
        settings: values for `DEFAULTS`.
        videos: an endless data set of samples of one frame.
        pictures: another one.
        held_out: {name: samples of one frame} for validation.
        rendered: one of `shapes`, for the share `shapes` of the frames.

    Raises:
        InputError: weights that do not fit.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        videos: Dataset,
        pictures: Dataset,
        held_out: Mapping[str, Sequence[Sample]],
        rendered: Dataset | None = None,
    ):
        self.settings, self.held_out = settings, held_out
        self.frames = CandidateFrames(settings, videos, pictures, rendered)
        torch.manual_seed(settings["seed"])
        self.network = initial_network(settings)
        self.from_scratch = settings["weights"] is None
        frozen_norms = settings["freeze_bn"]
        if not (not self.from_scratch if frozen_norms is None else frozen_norms):
            unfreeze_norms(self.network.backbone)

    def samples(self) -> Dataset:
        return self.frames

    def rates(self) -> dict[str, float]:
        """See `TrainingTask.rates`."""
        s = self.settings
        frozen = s["frozen"] if s["frozen"] is not None else 0 if self.from_scratch else FROZEN
        rate = s["encoder_lr"] if s["encoder_lr"] is not None else 1.0 if self.from_scratch else 0.2
        return {**{f"backbone.features.{i}.": 0.0 for i in range(frozen)}, "backbone.": rate}

    def collate(self, samples: list[Sample]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Normalised images [B, 3, H, W], and the parts of `Targets` of all frames."""
        size = samples[0].ids.shape[1:]
        images = torch.stack([preprocess.shrink(sample.images[0], size, "torchvision") for sample in samples])
        return images, tuple(joined([targets_of(sample.ids[0]) for sample in samples]))

    def losses(self, batch: tuple[Tensor, Sequence[Tensor]], step: int) -> dict[str, Tensor]:
        images, targets = batch
        return losses(self.network, images, Targets(*targets))

    def validate(self, network: CandidateNetwork) -> dict[str, float]:
        """Some of `measures` of each set of held-out frames: {"Frame IoU@3": ...}."""
        found = {name: measures(network, frames) for name, frames in self.held_out.items()}
        return {f"{name} {key}": values[key] for name, values in found.items() if values for key in LOGGED}

    def checkpoint(self, state: dict[str, Tensor]) -> dict[str, Any]:
        return {"model": without_counts(state)}


def initial_network(settings: Mapping[str, Any]) -> CandidateNetwork:
    """The network with initial weights: random ones, those of a whole network, or a MobileNetV2 from a file.

    Raises:
        InputError: weights that are missing or of another shape.
    """
    path = settings["weights"]
    network = CandidateNetwork(settings["channels"], settings["short_side"])
    if path is None:
        return network
    content = read_weights(path, "weights to start from")
    if "kernels.weight" in content:
        network = open_checkpoint(path, "candidates").network(training=True).requires_grad_(True)
        network.short_side.fill_(settings["short_side"])
        return network
    kept = {k: v for k, v in content.items() if k in network.backbone.state_dict()}
    if problems := mismatches(kept, {k: tuple(v.shape) for k, v in network.backbone.state_dict().items()}):
        raise InputError(f"{path}: as a MobileNetV2: {problem}" for problem in problems)
    network.backbone.load_state_dict({k: v.float() for k, v in kept.items()})
    return network
