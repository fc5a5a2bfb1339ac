"""Training of ReferFormer, MUTR and SOC: a few frames of a clip and several of its expressions at once.

As published: queries matched to the one object of an expression over the whole clip, losses of classes, boxes and masks
after every layer of the decoder. First single frames, then clips (`frames`), as the published weights were made: from
RefCOCO, then Ref-YouTube-VOS. What a frame holds beside the text is computed once for all expressions. Other than
published: masks are matched at half their resolution and only those that answer are drawn in full; there is no dropout,
and pictures are taken as they are, not flipped, cropped or recoloured; learning rate and weight decay are our own;
SOC's contrastive loss of words and clip is left out; small variants train their text encoder, for there is none to
start from; the mean of a clip's mask losses counts, where the official code divides it by the frames; and a setting,
`named`, makes the maps that the queries look at say by themselves which pixels the words name.

Source: Wu et al. (ReferFormer), CVPR 2022; Yan et al. (MUTR), AAAI 2024; Luo et al. (SOC), NeurIPS 2023.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from rvos_ensemble.adapters.core.component import merge_settings
from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.settings import switch, whole
from rvos_ensemble.adapters.core.settings import text as text_setting
from rvos_ensemble.adapters.inference import checkpoint, preprocess
from rvos_ensemble.adapters.inference.logits import grow
from rvos_ensemble.adapters.inference.options import TOKENIZER
from rvos_ensemble.adapters.networks import text
from rvos_ensemble.adapters.networks.dynamic_masks import WIDTH, Kernels, dynamic_masks
from rvos_ensemble.adapters.networks.interface import Text
from rvos_ensemble.adapters.networks.layers import Size
from rvos_ensemble.adapters.networks.rvos.parts import STRIDE, Queries
from rvos_ensemble.adapters.networks.rvos.rvos import RVOS
from rvos_ensemble.adapters.training.distillation import Imitation, look_nearby
from rvos_ensemble.adapters.training.loop import loop
from rvos_ensemble.adapters.training.loop.settings import (
    CLIPS,
    DATA,
    FILE,
    FRAMES,
    LEVEL,
    RATE,
    SENTENCES,
    TEXT_LAYERS,
    TEXT_WIDTH,
    WEIGHT,
)
from rvos_ensemble.adapters.training.loop.task import TrainingTask
from rvos_ensemble.adapters.training.losses import WEIGHTS, Found, Target, clip_losses, dice, focal, match
from rvos_ensemble.adapters.training.norms import unfreeze_norms, without_counts
from rvos_ensemble.adapters.training.parts import load_parts
from rvos_ensemble.adapters.training.samples.language import SLOWLY, check_words, spread_words
from rvos_ensemble.adapters.training.samples.samples import LENGTH, FolderClips, RenderedClips, Sample, same_size
from rvos_ensemble.adapters.training.uninext import look_around

if TYPE_CHECKING:
    from tokenizers import Tokenizer

DEFAULTS: dict[str, Any] = {
    "variant": text_setting(None),  # NAME_nano; or a published backbone, such as resnet50
    "data": DATA,  # rendered on the fly; or a folder in the layout of Ref-YouTube-VOS
    "level": LEVEL,  # of shapes: easy, medium or hard; None: all
    # folder; None: the small one that comes with the package, of published variants the cache's
    "tokenizer": TOKENIZER,
    "weights": FILE,  # to start from; None: from nothing
    "pretrained": FILE,  # to start from in part: of `train backbone=...`, or another of the three
    "teacher": FILE,  # a network of the same kind: only to see like it is learned, see `imitation.py`
    "frames": FRAMES.at(8),  # of a clip, all over it; 1 to 4 steps apart with a teacher
    "expressions": SENTENCES.at(5),  # of a clip
    "short_side": whole(None, least=32, most=4096),  # of the network's input; None: as the adapter has it
    # weight of the loss by which maps tell the named pixels; None: 0 as published, 1 for small variants
    "named": WEIGHT.at(None),
    "freeze_norms": switch(True),  # batch norms stay as they are; they learn from single frames, many at once
    # share of the learning rate; None: 0.5 as published, 1 for small variants
    "backbone_lr": RATE,
    # likewise; None: 0 as published, the text encoder then stays as it is; 0.1 for small variants
    "text_lr": RATE,
    "text_width": TEXT_WIDTH,
    "text_layers": TEXT_LAYERS,
    "validate_clips": CLIPS,
    "batch": loop.DEFAULTS["batch"].at(1),
    "lr": loop.DEFAULTS["lr"].at(5e-4),
    "steps": loop.DEFAULTS["steps"].at(4000),
    "seed": loop.DEFAULTS["seed"],
}
SMALL = "resnet_nano"  # backbone
PICTURE = (180, 320)  # size of rendered clips
SHORT = 96  # side of the input of small variants
PRIOR = math.log(0.01 / 0.99)  # the logit of a query that nothing is known of


def trainee(name: str, settings: Mapping[str, Any], score: Callable | None = None) -> Segmenter:
    """The training that settings describe.

    Args:
        name: referformer, mutr or soc.
        settings: values for `DEFAULTS`.
        score: see `Segmenter`.

    Raises:
        InputError: unknown settings, variant or data.
    """
    s = merge_settings(DEFAULTS, dict(settings), f"train segmenter={name}")
    backbone = SMALL if s["variant"] in (None, f"{name}_nano") else s["variant"]
    known = checkpoint.backbones(name)
    if backbone not in known:
        raise InputError(
            f"train segmenter={name}: no variant {backbone!r}, expected {name}_nano or one of {', '.join(known)}"
        )
    spread = s["teacher"] is None  # ways over many frames are too long to follow
    if s["data"] == "shapes":
        clips = RenderedClips(s["seed"], s["frames"], PICTURE, level=s["level"], spread=spread)
        held_out = RenderedClips(0, max(s["frames"], LENGTH // 3), PICTURE, "val", s["level"], spread=True)
    else:
        clips = FolderClips(s["data"], s["frames"], seed=s["seed"], spread=spread, told=True)
        held_out = None
    return Segmenter(name, backbone, s, clips, held_out, score)


class Segmenter(TrainingTask):
    """ReferFormer, MUTR or SOC in training.

    Args:
        name: of the three.
        backbone: one of those the checkpoints know.
        settings: see `DEFAULTS`.
        clips: by number without end.
        held_out: clips for validation; None: no validation.
        score: (predicted, true) bool [T, H, W] to a number such as J&F; None: no validation.

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
        self.tokenizer = text.load_tokenizer(text.ROBERTA, folder)
        if isinstance(clips, FolderClips):
            check_words(self.tokenizer, text.ROBERTA, clips)
        if not (self.small or settings["weights"] or settings["text_lr"]):
            raise InputError(
                f"train segmenter={name}: variant {backbone} has a text encoder that is not trained (text_lr is 0, as "
                f"published), and none to start from; give `weights`, a checkpoint of {name}, or `text_lr`"
            )
        self.short_side = settings["short_side"] or (SHORT if self.small else {"mutr": 432}.get(name, 360))
        torch.manual_seed(settings["seed"])
        if settings["weights"]:
            self.network = checkpoint.open_checkpoint(settings["weights"], name, backbone).network(
                "last", training=True
            )
        else:
            words, layers, width = self.tokenizer.get_vocab_size(), settings["text_layers"], settings["text_width"]
            small = self.small
            encoder = spread_words(text.roberta(words, layers, hidden=width)) if small else text.roberta(words)
            self.network = initialise(checkpoint.class_of(name)(backbone, encoder, layer="last"))
        if settings["pretrained"]:
            load_parts(self.network, settings["pretrained"])
        if settings["teacher"]:
            load_parts(self.network, settings["teacher"], ("text_encoder.",))
            teacher = checkpoint.open_checkpoint(settings["teacher"], name).network("last")
            self.network.imitation = Imitation(self.network.backbone[0].channels, teacher)
        if not settings["freeze_norms"]:
            unfreeze_norms(self.network)

    def samples(self) -> Dataset:
        return self.asked(self.clips)

    def asked(self, clips: Dataset) -> Asked:
        """Clips as the network takes them."""
        return Asked(clips, self.settings["seed"], self.settings["expressions"], self.tokenizer, self.short_side)

    def collate(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        return pad(samples)

    def losses(self, batch: Mapping[str, Any], step: int) -> dict[str, Tensor]:
        if self.settings["teacher"]:
            return self.network.imitation.losses(self.network, batch)
        self.network.language_model.eval()  # no dropout, as in the rest of the network
        named = self.settings["named"]
        return losses(self.network, batch, float(self.small) if named is None else named)

    def rates(self) -> dict[str, float]:
        """Of backbone and text encoder, as the settings say."""
        s, small = self.settings, self.small
        backbone, said = s["backbone_lr"], s["text_lr"]
        return {
            "backbone.": backbone if backbone is not None else 1.0 if small else 0.5,
            "text_encoder.": said if said is not None else SLOWLY if small else 0.0,
        }

    def validate(self, network: RVOS) -> dict[str, float]:
        if self.score is None or self.held_out is None:
            return {}
        scores = []
        for i in range(self.settings["validate_clips"]):
            clip = self.held_out[i]
            found = predict(network, clip, self.tokenizer, self.short_side)
            truth = [clip.ids == own for _, own in clip.expressions]
            scores += [self.score(f, t) for f, t in zip(found, truth, strict=True)]
        found = {"J&F": float(np.mean(scores))}
        if self.settings["teacher"]:
            asked = self.asked(self.held_out)
            batches = (pad([asked[i]]) for i in range(self.settings["validate_clips"]))
            found["Motion"] = float(np.mean([network.imitation.right(network, batch) for batch in batches]))
        return found

    def checkpoint(self, state: dict[str, Tensor]) -> dict[str, Any]:
        weights = {k: v for k, v in without_counts(state).items() if not k.startswith("imitation.")}
        return {"model": weights, "layer": "last"}  # recipes then answer with that one


class Asked(Dataset):
    """Clips with some of their expressions, ready for the network; sample i depends on the arguments and i alone."""

    def __init__(self, clips: Dataset, seed: int, expressions: int, tokenizer: Tokenizer, short_side: int):
        self.clips, self.seed, self.expressions = clips, seed, expressions
        self.tokenizer, self.short_side = tokenizer, short_side

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """{"frames": [T, 3, h, w], "masks": bool [E, T, H, W], "tokens": E rows}; few expressions are taken twice."""
        clip = self.clips[index]
        order = np.random.default_rng([self.seed, index]).permutation(len(clip.expressions))
        asked = [clip.expressions[i] for i in np.resize(order, self.expressions)]
        return {
            "frames": shrink(clip, self.short_side),
            "masks": torch.stack([torch.from_numpy(clip.ids == own) for _, own in asked]),
            "tokens": text.tokenize(self.tokenizer, text.ROBERTA, [sentence for sentence, _ in asked]),
        }


def pad(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Clips one after the other: frames [clips * T, 3, h, w], masks [E, T, H, W], padded token numbers [E, L]."""
    same_size([tuple(sample["masks"].shape[2:]) for sample in samples])
    rows = [row for sample in samples for row in sample["tokens"]]
    length = max(map(len, rows))
    return {
        "clips": len(samples),
        "frames": torch.cat([sample["frames"] for sample in samples]),
        "masks": torch.cat([sample["masks"] for sample in samples]),
        "ids": torch.tensor([row + [text.ROBERTA.padding[1]] * (length - len(row)) for row in rows]),
        "padding": torch.arange(length) >= torch.tensor([len(row) for row in rows])[:, None],
    }


def shrink(clip: Sample, short_side: int) -> Tensor:
    """The frames as the network takes them, [T, 3, h, w]."""
    size = preprocess.input_size(clip.images.shape[1:3], short_side, None, "torchvision")
    return torch.stack([preprocess.shrink(image, size, "torchvision") for image in clip.images])


def losses(network: RVOS, batch: Mapping[str, Any], named: float = 0.0) -> dict[str, Tensor]:
    """The losses by name, weighted, each summed over the layers of the decoder.

    Args:
        network: in training.
        batch: see `pad`.
        named: weight of the loss of `named_pixels`.
    """
    words = network.language_model(input_ids=batch["ids"], attention_mask=(~batch["padding"]).long())
    features = network.encode(batch["frames"], clips=batch["clips"])
    said = Text(words.last_hidden_state, batch["padding"], words.pooler_output)
    layers, pixels, finest = network.learn(features, said)
    target = Target.of(batch["masks"], tuple(pixels.shape[-2:]))
    rough = Target(target.masks[..., ::2, ::2], target.boxes, target.there)
    total: dict[str, Tensor] = {}
    for layer in layers:
        with torch.no_grad():
            every = torch.arange(network.queries, device=pixels.device).expand(len(target.boxes), -1)
            masks = draw(network, layer, pixels[..., ::2, ::2], every, features.size, stride=2 * STRIDE)
            logits, boxes = layer.logits.amax(-1), layer.boxes
            query = match(Found(logits, boxes, masks), rough)
        found = Found(layer.logits.amax(-1), layer.boxes, masks)
        mask = draw(network, layer, pixels, query[:, None], features.size)[:, 0]
        for name, loss in clip_losses(found, mask, query, target).items():
            total[name] = total.get(name, 0) + loss
    if named:
        total["named"] = named * (named_pixels(finest, target) + named_pixels(pixels, target))
    return total


def named_pixels(maps: Tensor, target: Target) -> Tensor:
    """Focal and dice loss of the first channel of maps [E * T, C, h, w], as logits of the expression's mask.

    Queries choose among what the maps show. Where these do not hold yet which object the words name, all queries go to
    the object that is easiest to draw, and the losses of the masks are slow to tell them better: on `shapes` thousands
    of steps pass so.
    """
    logits = maps[:, 0].unflatten(0, target.there.shape)  # [E, T, h, w]
    masks = F.interpolate(target.masks, logits.shape[-2:], mode="area")
    overlap = dice(logits.flatten(1), masks.flatten(1)).mean()
    return WEIGHTS["mask"] * focal(logits, masks).mean() + WEIGHTS["dice"] * overlap


def draw(network: RVOS, layer: Queries, pixels: Tensor, query: Tensor, size: Size, stride: int = STRIDE) -> Tensor:
    """Mask logits of chosen queries.

    Args:
        network: that said it.
        layer: what one of its layers says of E expressions in T frames.
        pixels: features [E * T, mask_channels, h, w].
        query: int64 [E, K].
        size: (H, W) of the network's input.
        stride: pixels of the input per pixel of the features, of which the first lies at 2, as at the full stride.

    Returns:
        [E, K, T, h, w].
    """
    frames = layer.states.shape[1]

    def pick(x: Tensor) -> Tensor:  # [E, T, Q, C] to [E * T, K, C]
        return x.gather(2, query[:, None, :, None].expand(-1, frames, -1, x.shape[3])).flatten(0, 1)

    kernels = Kernels.split(network.controller(pick(layer.states)), network.geometry.mask_channels)
    centres = pick(layer.centres) * torch.tensor(size[::-1], device=pixels.device) + (stride - STRIDE) // 2
    return dynamic_masks(pixels, kernels, centres, stride).unflatten(0, (-1, frames)).transpose(1, 2)


def predict(network: RVOS, clip: Sample, tokenizer: Tokenizer, short_side: int) -> np.ndarray:
    """What the network answers to every expression of a clip, bool [E, T, H, W]."""
    device = next(network.parameters()).device
    rows = text.tokenize(tokenizer, text.ROBERTA, [sentence for sentence, _ in clip.expressions])
    words = text.encode(network.language_model, text.ROBERTA, rows)
    answer = network.answer(network.encode(shrink(clip, short_side).to(device)), words)
    logits = answer.logits.float().cpu().numpy()
    return np.stack([[grow(x, clip.ids.shape[1:]) > 0 for x in one] for one in logits])


def initialise(network: RVOS) -> RVOS:
    """Random weights, drawn as the official codes do unless said; RoBERTa keeps those that it was built with."""
    for module in (network.transformer, network.controller, network.input_proj):
        for weight in module.parameters():
            if weight.dim() > 1:
                nn.init.xavier_uniform_(weight)
    nn.init.normal_(network.transformer.level_embed)
    nn.init.zeros_(network.transformer.reference_points.bias)
    for module in network.modules():
        if hasattr(module, "sampling_offsets"):
            look_around(module)
    look_nearby(network)  # other than published, where these biases are drawn at random
    # other than published: masks start without the offsets of the pixels, which are large numbers
    first = network.controller.layers[-1].weight.data[: (network.geometry.mask_channels + 2) * WIDTH]
    first.unflatten(0, (WIDTH, -1))[:, -2:] = 0
    for head in network.class_embed:
        nn.init.constant_(head.bias, PRIOR)
    for i, head in enumerate(network.bbox_embed):
        nn.init.zeros_(head.layers[-1].weight)
        nn.init.zeros_(head.layers[-1].bias)
        if i == 0:
            nn.init.constant_(head.layers[-1].bias[2:], -2.0)  # boxes start small
    return network
