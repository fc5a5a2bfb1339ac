"""The training task of ReferFormer, MUTR and SOC, and its settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from rvos_ensemble.adapters.core.component import merge_settings
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.settings import switch, whole
from rvos_ensemble.adapters.core.settings import text as text_setting
from rvos_ensemble.adapters.inference.checkpoints.checkpoint import family_of, open_checkpoint
from rvos_ensemble.adapters.inference.options import TOKENIZER
from rvos_ensemble.adapters.inference.tokenization import load_tokenizer
from rvos_ensemble.adapters.networks import text
from rvos_ensemble.adapters.networks.rvos.rvos import RVOS
from rvos_ensemble.adapters.training.initial_weights import spread_language_model
from rvos_ensemble.adapters.training.language import SMALL_TEXT_LR, check_words
from rvos_ensemble.adapters.training.loop import settings as common
from rvos_ensemble.adapters.training.loop.task import TrainingTask
from rvos_ensemble.adapters.training.norms import unfreeze_norms, without_counts
from rvos_ensemble.adapters.training.partial_weights import load_parts
from rvos_ensemble.adapters.training.samples.folder import FolderClips
from rvos_ensemble.adapters.training.samples.rendered import LENGTH, RenderedClips
from rvos_ensemble.adapters.training.segmenters import batches
from rvos_ensemble.adapters.training.segmenters.distillation import Distillation
from rvos_ensemble.adapters.training.segmenters.forward import predict
from rvos_ensemble.adapters.training.segmenters.initial_weights import initialise
from rvos_ensemble.adapters.training.segmenters.losses import losses

DEFAULTS: dict[str, Any] = {
    "variant": text_setting(None),  # NAME_nano, or a published backbone such as resnet50
    "data": common.DATA,  # a folder has the layout of Ref-YouTube-VOS
    "level": common.LEVEL,  # of `shapes`: easy, medium or hard; None uses all
    # folder; None: the small tokenizer of this package, or the cached one for published variants
    "tokenizer": TOKENIZER,
    "weights": common.FILE,  # initial weights; None trains from scratch
    # partial initial weights: from `train backbone=...`, or from another of the three networks
    "pretrained": common.FILE,
    "teacher": common.FILE,  # a network of the same kind whose features are distilled, see `distillation.py`
    "frames": common.FRAMES.at(8),  # per clip, spread over the clip; with a teacher 1 to 4 steps apart
    "expressions": common.SENTENCES.at(5),  # per clip
    "short_side": whole(None, least=32, most=4096),  # of the network's input; None uses the adapter's value
    # weight of the loss that marks named pixels in feature maps; None: 0 as published, 1 for small variants
    "named": common.WEIGHT.at(None),
    "freeze_norms": switch(True),  # batch norms need large batches of single frames
    # relative learning rate of the backbone; None: 0.5 as published, 1 for small variants
    "backbone_lr": common.RATE,
    # relative learning rate of the text encoder; None: 0 (frozen) as published, 0.1 for small variants
    "text_lr": common.RATE,
    "text_width": common.TEXT_WIDTH,
    "text_layers": common.TEXT_LAYERS,
    "validate_clips": common.CLIPS,
    "batch": common.DEFAULTS["batch"].at(1),
    "lr": common.DEFAULTS["lr"].at(5e-4),
    "steps": common.DEFAULTS["steps"].at(4000),
    "seed": common.DEFAULTS["seed"],
}
SMALL_BACKBONE = "resnet_nano"
FRAME_SIZE = (180, 320)  # of rendered clips
SMALL_SIDE = 96  # short side of the input of small variants


def make_task(name: str, settings: Mapping[str, Any], score: Callable | None = None) -> SegmenterTask:
    """Makes the training task that settings describe.

    Args:
        name: referformer, mutr or soc.
        settings: values for `DEFAULTS`.
        score: see `SegmenterTask`.

    Raises:
        InputError: unknown settings, variant or data.
    """
    s = merge_settings(DEFAULTS, dict(settings), f"train segmenter={name}")
    backbone = SMALL_BACKBONE if s["variant"] in (None, f"{name}_nano") else s["variant"]
    known = family_of(name).backbones
    if backbone not in known:
        raise InputError(
            f"train segmenter={name}: no variant {backbone!r}, expected {name}_nano or one of {', '.join(known)}"
        )
    spread = s["teacher"] is None  # displacements over many frames are too large to predict
    if s["data"] == "shapes":
        clips = RenderedClips(s["seed"], s["frames"], FRAME_SIZE, level=s["level"], spread=spread)
        held_out = RenderedClips(0, max(s["frames"], LENGTH // 3), FRAME_SIZE, "val", s["level"], spread=True)
    else:
        clips = FolderClips(s["data"], s["frames"], seed=s["seed"], spread=spread, with_expressions=True)
        held_out = None
    return SegmenterTask(name, backbone, s, clips, held_out, score)


class SegmenterTask(TrainingTask):
    """Training of ReferFormer, MUTR or SOC.

    Args:
        name: referformer, mutr or soc.
        backbone: one of the backbones that checkpoints can have.
        settings: values for `DEFAULTS`.
        clips: an endless data set of `Sample`.
        held_out: clips for validation; None disables validation.
        score: metric of predicted and true masks, bool [T, H, W], such as J&F; None disables validation.

    Raises:
        InputError: a tokenizer or weights that do not fit.
    """

    def __init__(
        self,
        name: str,
        backbone: str,
        settings: Mapping[str, Any],
        clips: Dataset,
        held_out: Dataset | None,
        score: Callable | None,
    ):
        self.settings, self.clips, self.held_out, self.score = settings, clips, held_out, score
        self.small = backbone.endswith("_nano")
        folder = settings["tokenizer"] or (str(text.ROBERTA.small) if self.small else None)
        self.tokenizer = load_tokenizer(text.ROBERTA, folder)
        if isinstance(clips, FolderClips):
            check_words(self.tokenizer, text.ROBERTA, clips)
        if not (self.small or settings["weights"] or settings["text_lr"]):
            raise InputError(
                f"train segmenter={name}: the text encoder of variant {backbone} is not trained (text_lr is 0, as "
                f"published) and has no weights; set `weights`, a checkpoint of {name}, or `text_lr`"
            )
        self.short_side = settings["short_side"] or (SMALL_SIDE if self.small else {"mutr": 432}.get(name, 360))
        torch.manual_seed(settings["seed"])
        self.network = self._initial_network(name, backbone)
        if not settings["freeze_norms"]:
            unfreeze_norms(self.network)

    def _initial_network(self, name: str, backbone: str) -> RVOS:
        s = self.settings
        if s["weights"]:
            network = open_checkpoint(s["weights"], name, backbone).network("last", training=True)
        else:
            words = self.tokenizer.get_vocab_size()
            if self.small:
                small = text.roberta(words, s["text_layers"], hidden=s["text_width"])
                encoder = spread_language_model(small)
            else:
                encoder = text.roberta(words)
            network = initialise(family_of(name).network_class(backbone, encoder, layer="last"))
        if s["pretrained"]:
            load_parts(network, s["pretrained"])
        if s["teacher"]:
            load_parts(network, s["teacher"], ("text_encoder.",))
            teacher = open_checkpoint(s["teacher"], name).network("last")
            network.distillation = Distillation(network.backbone[0].channels, teacher)
        return network

    def samples(self) -> Dataset:
        return self.tokenized(self.clips)

    def tokenized(self, clips: Dataset) -> batches.TokenizedClips:
        """Clips as samples for `collate`."""
        s = self.settings
        return batches.TokenizedClips(clips, s["seed"], s["expressions"], self.tokenizer, self.short_side)

    def collate(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        return batches.collate(samples)

    def losses(self, batch: Mapping[str, Any], step: int) -> dict[str, Tensor]:
        if self.settings["teacher"]:
            return self.network.distillation.losses(self.network, batch)
        self.network.language_model.eval()  # no dropout, as in the rest of the network
        named = self.settings["named"]
        return losses(self.network, batch, float(self.small) if named is None else named)

    def rates(self) -> dict[str, float]:
        """Relative learning rates of backbone and text encoder."""
        backbone, text_encoder = self.settings["backbone_lr"], self.settings["text_lr"]
        if backbone is None:
            backbone = 1.0 if self.small else 0.5
        if text_encoder is None:
            text_encoder = SMALL_TEXT_LR if self.small else 0.0
        return {"backbone.": backbone, "text_encoder.": text_encoder}

    def validate(self, network: RVOS) -> dict[str, float]:
        """J&F of held-out clips; with a teacher also the accuracy of the predicted motion."""
        if self.score is None or self.held_out is None:
            return {}
        scores = []
        for i in range(self.settings["validate_clips"]):
            clip = self.held_out[i]
            masks = predict(network, clip, self.tokenizer, self.short_side)
            truth = [clip.ids == own for _, own in clip.expressions]
            scores += [self.score(p, t) for p, t in zip(masks, truth, strict=True)]
        metrics = {"J&F": float(np.mean(scores))} if scores else {}
        if self.settings["teacher"]:
            clips = self.tokenized(self.held_out)
            held_out = (batches.collate([clips[i]]) for i in range(self.settings["validate_clips"]))
            metrics["Motion"] = float(np.mean([network.distillation.accuracy(network, batch) for batch in held_out]))
        return metrics

    def checkpoint(self, state: dict[str, Tensor]) -> dict[str, Any]:
        """The weights without the heads of the distillation; recipes use the last decoder layer."""
        weights = {k: v for k, v in without_counts(state).items() if not k.startswith("distillation.")}
        return {"model": weights, "layer": "last"}
