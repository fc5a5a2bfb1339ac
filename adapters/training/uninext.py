"""Training of UNINEXT on expressions: pictures of clips, one at a time, as it answers.

As published: two stages, of which the first rates every cell of the image, SimOTA decides which queries answer, and
every layer of the decoder learns classes, boxes, their IoU and masks. Left out: the denoising queries, because SimOTA
gives the decoder many teachers already, and the embeddings for tracking, which no expression needs. Other than
published, for a training from nothing: the first stage learns from several cells by SimOTA too, where it had
one by the Hungarian method; and the text encoder is trained, because there is none to start from.

Source: Yan et al., "Universal Instance Perception as Object Discovery and Retrieval", CVPR 2023.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from rvos_ensemble.adapters.core.component import merge_settings
from rvos_ensemble.adapters.core.settings import choice, listed
from rvos_ensemble.adapters.inference import preprocess
from rvos_ensemble.adapters.inference.checkpoint import open_checkpoint
from rvos_ensemble.adapters.inference.logits import grow
from rvos_ensemble.adapters.inference.options import TOKENIZER as FOLDER
from rvos_ensemble.adapters.networks import text
from rvos_ensemble.adapters.networks.deformable import DeformableAttention
from rvos_ensemble.adapters.networks.layers import Size
from rvos_ensemble.adapters.networks.uninext.dino import BiAttention, Found, Layout
from rvos_ensemble.adapters.networks.uninext.uninext import Uninext
from rvos_ensemble.adapters.training.loop import loop
from rvos_ensemble.adapters.training.loop.settings import (
    CLIPS,
    DATA,
    FILE,
    FRAMES,
    LEVEL,
    RATE,
    SENTENCES,
    SIZE,
    TEXT_LAYERS,
    TEXT_WIDTH,
)
from rvos_ensemble.adapters.training.loop.task import TrainingTask
from rvos_ensemble.adapters.training.losses import boxes_of
from rvos_ensemble.adapters.training.parts import load_parts
from rvos_ensemble.adapters.training.samples.language import SLOWLY, check_words, spread_words
from rvos_ensemble.adapters.training.samples.samples import LENGTH, FolderClips, RenderedClips, Sample, same_size
from rvos_ensemble.adapters.training.simota import WEIGHTS, box_losses, mask_losses, match

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER = Path(__file__).parents[1] / "weights" / "bert_nano"
PICTURE = (180, 320)  # size of rendered clips
PARTS = ("detr.detr.backbone.", "text_encoder.")
PRIOR = math.log(0.01 / 0.99)  # the logit of a query that nothing is known of


def initialise(network: Uninext) -> Uninext:
    """Random weights as the official code draws them."""
    detr = network.detr.detr
    for module in (detr.transformer, detr.input_proj, network.detr.controller):
        for weight in module.parameters():
            if weight.dim() > 1:
                nn.init.xavier_uniform_(weight)
    for module in network.detr.mask_head.children():
        nn.init.kaiming_uniform_(module.weight, a=1)
    for module in network.modules():
        if isinstance(module, DeformableAttention):
            look_around(module)
        elif isinstance(module, BiAttention):
            for child in module.children():
                nn.init.zeros_(child.bias)
    fusion = detr.transformer.fusion
    for gamma in (fusion.gamma_v, fusion.gamma_l):
        nn.init.constant_(gamma, 1 / len(detr.transformer.encoder.layers))
    nn.init.normal_(detr.transformer.level_embed)
    for head in detr.class_embed:
        nn.init.constant_(head.bias0 if hasattr(head, "bias0") else head.body.bias, PRIOR)
    for head in detr.bbox_embed:
        nn.init.zeros_(head.layers[-1].weight)
        nn.init.zeros_(head.layers[-1].bias)
    return network


def look_around(attention: DeformableAttention) -> None:
    """Each head looks into a direction of its own, each point one cell further."""
    nn.init.zeros_(attention.sampling_offsets.weight)
    nn.init.zeros_(attention.attention_weights.weight)
    nn.init.zeros_(attention.attention_weights.bias)
    angle = torch.arange(attention.heads) * (2 * math.pi / attention.heads)
    direction = torch.stack([angle.cos(), angle.sin()], -1)
    direction = direction / direction.abs().amax(-1, keepdim=True)
    step = torch.arange(1, attention.points + 1.0)
    offset = direction[:, None, None] * step[:, None]  # [heads, 1, points, 2]
    with torch.no_grad():
        attention.sampling_offsets.bias.copy_(offset.expand(-1, attention.levels, -1, -1).flatten())
    for linear in (attention.value_proj, attention.output_proj):
        nn.init.zeros_(linear.bias)


# -------------------------------------------------------------------------------------------------------- one batch
def batch_of(
    clips: Sequence[Sample], expressions: Sequence[Sequence[int]], tokenizer: Tokenizer, size: Size
) -> dict[str, Tensor]:
    """Pictures, and pairs of a picture and an expression.

    Args:
        clips: every frame is a picture.
        expressions: of each clip, which are asked for.
        tokenizer: of BERT.
        size: (h, w) that the pictures are brought to.

    Returns:
        {"frames": [N, 3, h, w], "picture": int64 [B], "ids": int64 [B, L], "padding": bool [B, L], "masks": float
        [B, h4, w4], share of the object in each cell at a quarter of the size, "boxes": [B, 4], "there": bool [B]}.
    """
    same_size([clip.images.shape[1:3] for clip in clips])
    frames, picture, rows, masks = [], [], [], []
    for clip, asked in zip(clips, expressions, strict=True):
        sentences, objects = zip(*(clip.expressions[i] for i in asked), strict=True)
        tokens = text.tokenize(tokenizer, text.BERT, sentences)
        for image, ids in zip(clip.images, clip.ids, strict=True):
            picture += [len(frames)] * len(asked)
            rows += tokens
            masks += [ids == own for own in objects]
            frames.append(preprocess.shrink(image, size, "detectron2"))
    length = max(map(len, rows))
    h, w = size
    shares = [cv2.resize(mask.astype(np.float32), (w, h), interpolation=cv2.INTER_AREA) for mask in masks]
    shares = F.pad(torch.from_numpy(np.stack(shares)), (0, -w % 4, 0, -h % 4))
    masks = torch.from_numpy(np.stack(masks))
    return {
        "frames": torch.stack(frames),
        "picture": torch.tensor(picture),
        "ids": torch.tensor([row + [text.BERT.padding[1]] * (length - len(row)) for row in rows]),
        "padding": torch.arange(length) >= torch.tensor([len(row) for row in rows])[:, None],
        "masks": F.avg_pool2d(shares, 4),
        "boxes": boxes_of(masks),
        "there": masks.flatten(1).any(1),
    }


def losses(network: Uninext, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The terms of `simota.WEIGHTS`, weighted, each summed over the proposals and all layers of the decoder."""
    frames, layout, size = network.prepare(batch["frames"])
    words = network.language_model(input_ids=batch["ids"], attention_mask=(~batch["padding"]).long())
    tokens = network.tokens(frames)[batch["picture"]]
    found = network.look(tokens, layout, words.last_hidden_state, batch["padding"])
    target, there = batch["boxes"], batch["there"]
    terms = [_proposals(network, found, layout, target, there)]
    canvas = network.canvas(found, layout)
    h, w = batch["masks"].shape[1:]
    for layer, queries in enumerate(found.layers):
        logits, overlap = network.rate(found, layer)
        answers = match(logits, queries.boxes, target, there)
        row, query = answers.nonzero(as_tuple=True)
        state, centres = queries.state[row, query][:, None], queries.centres[row, query][:, None]
        masks = network.draw(canvas[row], state, centres, size)[:, 0, :h, :w]
        terms.append(box_losses(logits, queries.boxes, target, answers, overlap))
        terms.append(mask_losses(masks, batch["masks"][row]))
    return {name: sum(t[name] for t in terms if name in t) for name in WEIGHTS}


def _proposals(network: Uninext, found: Found, layout: Layout, target: Tensor, there: Tensor) -> dict[str, Tensor]:
    """Losses of the first stage, in which every cell is a query."""
    proposes = layout.box[:, 0].isfinite()
    boxes = (network.detr.detr.bbox_embed[-1](found.cells[:, proposes]) + layout.box[proposes]).sigmoid()
    logits = found.ratings[:, proposes]
    return box_losses(logits, boxes, target, match(logits, boxes, target, there))


# ----------------------------------------------------------------------------------------------------- the training
DEFAULTS: dict[str, Any] = {
    "variant": choice("uninext_nano"),  # the only one that is small enough to be trained from nothing
    "data": DATA,  # rendered on the fly; or a folder in the layout of Ref-YouTube-VOS
    "level": LEVEL,  # of shapes: easy, medium or hard; None: all
    "tokenizer": FOLDER,  # folder; None: the small one that comes with the package
    "weights": FILE,  # to start from; None: from nothing
    "pretrained": FILE,  # to start from in part: a file of `train backbone=convnext_nano`
    # of the pictures, one drawn for every batch
    "sizes": listed(SIZE, [[126, 224], [126, 224], [158, 281]], least=1, most=100),
    "frames": FRAMES.at(2),  # of a clip, each a picture by itself
    "expressions": SENTENCES.at(3),  # of a clip, at most
    "text_lr": RATE.at(SLOWLY),  # learning rate of the text encoder, relative
    "text_layers": TEXT_LAYERS,
    "text_width": TEXT_WIDTH,
    "validate_clips": CLIPS,
    "validate_size": SIZE.at([158, 281]),
    "batch": loop.DEFAULTS["batch"].at(5),
    "lr": loop.DEFAULTS["lr"].at(1e-3),
    "steps": loop.DEFAULTS["steps"].at(4000),
    "seed": loop.DEFAULTS["seed"],
}


def trainee(name: str, settings: Mapping[str, Any], score: Callable | None = None) -> UninextTrainee:
    """The training that settings describe.

    Args:
        name: uninext.
        settings: values for `DEFAULTS`.
        score: see `UninextTrainee`.

    Raises:
        InputError: unknown settings, variant or data.
    """
    s = merge_settings(DEFAULTS, dict(settings), f"train segmenter={name}")
    if s["data"] == "shapes":
        clips = RenderedClips(s["seed"], s["frames"], PICTURE, level=s["level"], spread=True)
        held_out = RenderedClips(0, LENGTH, PICTURE, "val", s["level"])
    else:
        clips, held_out = FolderClips(s["data"], s["frames"], seed=s["seed"], spread=True, told=True), None
    return UninextTrainee(s, clips, held_out, score)


class UninextTrainee(TrainingTask):
    """UNINEXT nano in training.

    Args:
        settings: see `DEFAULTS`.
        clips: by number without end.
        held_out: clips for validation; None: no validation.
        score: (predicted, true) bool [T, H, W] to a number such as J&F; None: no validation.

    Raises:
        InputError: a tokenizer or weights that do not fit.
    """

    def __init__(self, settings: Mapping[str, Any], clips: Dataset, held_out: Dataset | None, score: Callable | None):
        self.settings, self.clips, self.held_out, self.score = settings, clips, held_out, score
        self.tokenizer = text.load_tokenizer(text.BERT, settings["tokenizer"] or str(TOKENIZER))
        if isinstance(clips, FolderClips):
            check_words(self.tokenizer, text.BERT, clips)
        torch.manual_seed(settings["seed"])
        if settings["weights"]:
            self.network = open_checkpoint(settings["weights"], "uninext").network().requires_grad_(True)
        else:
            words = text.bert(self.tokenizer.get_vocab_size(), settings["text_layers"], 64, settings["text_width"])
            self.network = initialise(Uninext("convnext_nano", spread_words(words)))
        if settings["pretrained"]:
            load_parts(self.network, settings["pretrained"], PARTS)

    def rates(self) -> dict[str, float]:
        return {"text_encoder.": self.settings["text_lr"]}

    def samples(self) -> Dataset:
        return Asked(self.clips, self.settings["seed"], self.settings["expressions"])

    def collate(self, samples: list[tuple[Sample, list[int], float]]) -> dict[str, Tensor]:
        """See `batch_of`; the first sample's number draws the size of all."""
        clips, expressions, numbers = zip(*samples, strict=True)
        sizes = self.settings["sizes"]
        return batch_of(clips, expressions, self.tokenizer, tuple(sizes[int(numbers[0] * len(sizes))]))

    def losses(self, batch: Mapping[str, Tensor], step: int) -> dict[str, Tensor]:
        self.network.language_model.eval()  # no dropout, as in the rest of the network
        return losses(self.network, batch)

    def validate(self, network: Uninext) -> dict[str, float]:
        """The mean score over the expressions of held-out clips, in every third frame."""
        found = []
        measurable = self.score and self.held_out
        for i in range(self.settings["validate_clips"]) if measurable else ():
            clip = self.held_out[i]
            masks = answers(network, self.tokenizer, clip, tuple(self.settings["validate_size"]), step=3)
            found += [self.score(m, clip.ids[::3] == own) for m, (_, own) in zip(masks, clip.expressions, strict=True)]
        return {"J&F": float(np.mean(found))} if found else {}

    def checkpoint(self, state: dict[str, Tensor]) -> dict[str, Any]:
        return {"model": state}


class Asked(Dataset):
    """Clips, each with the numbers of the expressions that are asked for, and a random number in 0..1."""

    def __init__(self, clips: Dataset, seed: int, most: int):
        self.clips, self.seed, self.most = clips, seed, most

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, i: int) -> tuple[Sample, list[int], float]:
        clip, rng = self.clips[i], np.random.default_rng([self.seed, i])
        return clip, rng.permutation(len(clip.expressions))[: self.most].tolist(), rng.random()


def answers(network: Uninext, tokenizer: Tokenizer, clip: Sample, size: Size, step: int = 1) -> list[np.ndarray]:
    """What the network answers, as the adapter asks it: bool [T, H, W] for each expression, in every `step`th frame."""
    images = clip.images[::step]
    device = next(network.parameters()).device
    frames = torch.stack([preprocess.shrink(image, size, "detectron2") for image in images])
    features = network.encode(frames.to(device))
    sentences = [sentence for sentence, _ in clip.expressions]
    words = text.encode(network.language_model, text.BERT, text.tokenize(tokenizer, text.BERT, sentences))
    logits = network.answer(features, words, frames_per_step=48).logits.cpu().numpy()
    return [np.stack([grow(frame, images.shape[1:3], "x4_bilinear", size) > 0 for frame in one]) for one in logits]
