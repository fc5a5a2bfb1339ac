"""The training task of UNINEXT, and its settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from rvos_ensemble.adapters.core.component import merge_settings
from rvos_ensemble.adapters.core.settings import choice, listed
from rvos_ensemble.adapters.inference import preprocess
from rvos_ensemble.adapters.inference.checkpoints.checkpoint import open_checkpoint
from rvos_ensemble.adapters.inference.logits import grow
from rvos_ensemble.adapters.inference.options import TOKENIZER
from rvos_ensemble.adapters.inference.tokenization import load_tokenizer, tokenize
from rvos_ensemble.adapters.networks import text
from rvos_ensemble.adapters.networks.layers import Size
from rvos_ensemble.adapters.networks.uninext.uninext import Uninext
from rvos_ensemble.adapters.training.initial_weights import spread_language_model
from rvos_ensemble.adapters.training.language import SMALL_TEXT_LR, check_words
from rvos_ensemble.adapters.training.loop import settings as common
from rvos_ensemble.adapters.training.loop.task import TrainingTask
from rvos_ensemble.adapters.training.partial_weights import load_parts
from rvos_ensemble.adapters.training.samples.folder import FolderClips
from rvos_ensemble.adapters.training.samples.rendered import LENGTH, RenderedClips
from rvos_ensemble.adapters.training.samples.sample import Sample
from rvos_ensemble.adapters.training.uninext.batches import ClipsWithExpressions, batch_of
from rvos_ensemble.adapters.training.uninext.initial_weights import initialise
from rvos_ensemble.adapters.training.uninext.losses import losses

if TYPE_CHECKING:
    from tokenizers import Tokenizer

DEFAULTS: dict[str, Any] = {
    "variant": choice("uninext_nano"),  # the only variant that is small enough to train from scratch
    "data": common.DATA,  # a folder has the layout of Ref-YouTube-VOS
    "level": common.LEVEL,  # of `shapes`: easy, medium or hard; None uses all
    "tokenizer": TOKENIZER,  # folder; None: the small tokenizer of this package
    "weights": common.FILE,  # initial weights; None trains from scratch
    "pretrained": common.FILE,  # partial initial weights, from `train backbone=convnext_nano`
    # sizes of the resized frames; one is drawn per batch
    "sizes": listed(common.SIZE, [[126, 224], [126, 224], [158, 281]], least=1, most=100),
    "frames": common.FRAMES.at(2),  # per clip, processed independently
    "expressions": common.SENTENCES.at(3),  # per clip, at most
    "text_lr": common.RATE.at(SMALL_TEXT_LR),  # relative learning rate of the text encoder
    "text_layers": common.TEXT_LAYERS,
    "text_width": common.TEXT_WIDTH,
    "validate_clips": common.CLIPS,
    "validate_size": common.SIZE.at([158, 281]),
    "batch": common.DEFAULTS["batch"].at(5),
    "lr": common.DEFAULTS["lr"].at(1e-3),
    "steps": common.DEFAULTS["steps"].at(4000),
    "seed": common.DEFAULTS["seed"],
}
SMALL_TOKENIZER = Path(__file__).parents[2] / "weights" / "bert_nano"
FRAME_SIZE = (180, 320)  # of rendered clips
PARTS = ("detr.detr.backbone.", "text_encoder.")
VALIDATE_EVERY = 3  # frames


def make_task(name: str, settings: Mapping[str, Any], score: Callable | None = None) -> UninextTask:
    """Makes the training task that settings describe.

    Args:
        name: uninext.
        settings: values for `DEFAULTS`.
        score: see `UninextTask`.

    Raises:
        InputError: unknown settings, variant or data.
    """
    s = merge_settings(DEFAULTS, dict(settings), f"train segmenter={name}")
    if s["data"] == "shapes":
        clips = RenderedClips(s["seed"], s["frames"], FRAME_SIZE, level=s["level"], spread=True)
        held_out = RenderedClips(0, LENGTH, FRAME_SIZE, "val", s["level"])
    else:
        clips = FolderClips(s["data"], s["frames"], seed=s["seed"], spread=True, with_expressions=True)
        held_out = None
    return UninextTask(s, clips, held_out, score)


class UninextTask(TrainingTask):
    """Training of UNINEXT nano.

    Args:
        settings: values for `DEFAULTS`.
        clips: an endless data set of `Sample`.
        held_out: clips for validation; None disables validation.
        score: metric of predicted and true masks, bool [T, H, W], such as J&F; None disables validation.

    Raises:
        InputError: a tokenizer or weights that do not fit.
    """

    def __init__(self, settings: Mapping[str, Any], clips: Dataset, held_out: Dataset | None, score: Callable | None):
        self.settings, self.clips, self.held_out, self.score = settings, clips, held_out, score
        self.tokenizer = load_tokenizer(text.BERT, settings["tokenizer"] or str(SMALL_TOKENIZER))
        if isinstance(clips, FolderClips):
            check_words(self.tokenizer, text.BERT, clips)
        torch.manual_seed(settings["seed"])
        if settings["weights"]:
            self.network = open_checkpoint(settings["weights"], "uninext").network().requires_grad_(True)
        else:
            words = text.bert(self.tokenizer.get_vocab_size(), settings["text_layers"], 64, settings["text_width"])
            self.network = initialise(Uninext("convnext_nano", spread_language_model(words)))
        if settings["pretrained"]:
            load_parts(self.network, settings["pretrained"], PARTS)

    def rates(self) -> dict[str, float]:
        return {"text_encoder.": self.settings["text_lr"]}

    def samples(self) -> Dataset:
        return ClipsWithExpressions(self.clips, self.settings["seed"], self.settings["expressions"])

    def collate(self, samples: list[tuple[Sample, list[int], float]]) -> dict[str, Tensor]:
        """See `batch_of`; the random number of the first sample selects the size of the batch."""
        clips, expressions, numbers = zip(*samples, strict=True)
        sizes = self.settings["sizes"]
        return batch_of(clips, expressions, self.tokenizer, tuple(sizes[int(numbers[0] * len(sizes))]))

    def losses(self, batch: Mapping[str, Tensor], step: int) -> dict[str, Tensor]:
        self.network.language_model.eval()  # no dropout, as in the rest of the network
        return losses(self.network, batch)

    def validate(self, network: Uninext) -> dict[str, float]:
        """The mean score over the expressions of held-out clips, in every third frame."""
        scores = []
        enabled = self.score and self.held_out
        for i in range(self.settings["validate_clips"]) if enabled else ():
            clip = self.held_out[i]
            masks = predict(network, self.tokenizer, clip, tuple(self.settings["validate_size"]), step=VALIDATE_EVERY)
            truth = [clip.ids[::VALIDATE_EVERY] == own for _, own in clip.expressions]
            scores += [self.score(p, t) for p, t in zip(masks, truth, strict=True)]
        return {"J&F": float(np.mean(scores))} if scores else {}

    def checkpoint(self, state: dict[str, Tensor]) -> dict[str, Any]:
        return {"model": state}


def predict(network: Uninext, tokenizer: Tokenizer, clip: Sample, size: Size, step: int = 1) -> list[np.ndarray]:
    """The predicted masks as the adapter computes them, bool [T, H, W] per expression, in every `step`-th frame."""
    images = clip.images[::step]
    device = next(network.parameters()).device
    frames = torch.stack([preprocess.shrink(image, size, "detectron2") for image in images])
    features = network.encode(frames.to(device))
    sentences = [sentence for sentence, _ in clip.expressions]
    words = text.encode(network.language_model, text.BERT, tokenize(tokenizer, text.BERT, sentences))
    logits = network.answer(features, words, frames_per_step=48).logits.cpu().numpy()
    return [
        np.stack([grow(frame, images.shape[1:3], "x4_bilinear", size) > 0 for frame in expression])
        for expression in logits
    ]
