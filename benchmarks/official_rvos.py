"""The official code of ReferFormer, MUTR and SOC from a checkout, unchanged, where its old environment cannot be built.

What it imports and does not need to answer is replaced in memory: torchvision (ResNet is put together from our
bottleneck, which the golden numbers check), timm, fairscale, fvcore, scipy, and the tokenizer and download of
`transformers`. The compiled operator is replaced by the repository's own `ms_deform_attn_core_pytorch`. `einops` has to
be installed.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import types
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor, nn
from transformers import BatchEncoding

from rvos_ensemble.adapters.networks.backbones.resnet import ResNet

Words = list[list[int]]  # token numbers of every expression
Run = Callable[[Tensor, list[int]], tuple[Tensor, Tensor]]


def build(
    model: str, checkout: Path, backbone: str, text_encoder: nn.Module, expressions: Words
) -> tuple[nn.Module, Run]:
    """An official network, and how its inference script runs it.

    Args:
        model: "referformer", "mutr" or "soc".
        checkout: of its repository.
        backbone: in our spelling.
        text_encoder: RoBERTa.
        expressions: which may be asked for.

    Returns:
        The network; and run(frames [T, 3, h, w], expression) to (mask logits [T, h4, w4], scores [T]) of the query
        that the script selects.
    """
    sys.path.insert(0, str(checkout))
    sys.modules.update(stand_ins())
    operator = sys.modules["MultiScaleDeformableAttention"] = types.ModuleType("MultiScaleDeformableAttention")
    fallback = importlib.import_module("models.ops.functions.ms_deform_attn_func").ms_deform_attn_core_pytorch
    operator.ms_deform_attn_forward = lambda v, shapes, _, where, weights, __: fallback(v, shapes, where, weights)

    tokenizer = Tokenizer(expressions)
    with (
        mock.patch("transformers.RobertaModel.from_pretrained", lambda *_, **__: text_encoder),
        mock.patch("transformers.RobertaTokenizerFast.from_pretrained", lambda *_, **__: tokenizer),
    ):
        network = importlib.import_module("models").build_model(arguments(model, checkout, backbone))[0].eval()

    def run(frames: Tensor, expression: list[int]) -> tuple[Tensor, Tensor]:
        size = torch.tensor(frames.shape[-2:])
        caption = [tokenizer.caption(expression)]
        if model == "soc":
            samples = importlib.import_module("misc").nested_tensor_from_videos_list([frames])
            found = network(samples, None, caption, [[{"size": size}]] * len(frames))
            logits, masks = found["pred_cls"][:, 0], found["pred_masks"][:, 0]
        else:
            found = network([frames], caption, [{"size": size}])
            logits, masks = found["pred_logits"][0], found["pred_masks"][0]
        scores = logits.sigmoid()  # [T, Q, classes]
        query = scores.mean(0).amax(-1).argmax()
        return masks[:, query], scores[:, query].amax(-1)

    return network, run


def arguments(model: str, checkout: Path, backbone: str) -> argparse.Namespace:
    """The settings of the published evaluation."""
    if model == "soc":
        from omegaconf import OmegaConf

        config = OmegaConf.to_container(OmegaConf.load(checkout / "configs/refer_youtube_vos.yaml"))
        settings = {name: entry["value"] for name, entry in config.items()}
        spelling = backbone.removesuffix("_p4w7").replace("_", "-")
        return argparse.Namespace(**settings, backbone=spelling, backbone_pretrained_path=None, device="cpu")
    parser = importlib.import_module("opts").get_args_parser()
    switches = "--with_box_refine --binary --freeze_text_encoder --device cpu --masks --backbone"
    return parser.parse_args([*switches.split(), backbone])


class Tokenizer:
    """Stands for the official tokenizer: captions are numbers of expressions that are tokens already."""

    def __init__(self, expressions: Words):
        self.expressions = expressions

    def caption(self, expression: list[int]) -> str:
        return str(self.expressions.index(expression))

    def batch_encode_plus(self, captions: list[str], **_) -> BatchEncoding:
        ids = torch.tensor([self.expressions[int(caption)] for caption in captions])
        return BatchEncoding({"input_ids": ids, "attention_mask": torch.ones_like(ids)})


class LayerGetter(nn.ModuleDict):
    """torchvision's IntermediateLayerGetter: a network's children, and what some of them yield."""

    def __init__(self, network: nn.Module, return_layers: dict[str, str]):
        super().__init__(OrderedDict(network.named_children()))
        self.names = return_layers

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        found = OrderedDict()
        for name, module in self.items():
            x = module(x)
            if name in self.names:
                found[self.names[name]] = x
        return found


class DropPath(nn.Identity):
    """timm's, in evaluation."""

    def __init__(self, *_, **__):
        super().__init__()


def resnet(blocks: tuple[int, ...]) -> nn.Sequential:
    """A ResNet as torchvision lays it out."""
    parts = OrderedDict(ResNet(blocks).named_children())
    stem = [("conv1", parts.pop("conv1")), ("bn1", parts.pop("bn1")), ("relu", nn.ReLU(inplace=True))]
    return nn.Sequential(OrderedDict([*stem, ("maxpool", nn.MaxPool2d(3, 2, 1)), *parts.items()]))


def stand_ins() -> dict[str, types.ModuleType]:
    """Modules in place of packages that are not installed."""

    def nothing(*_, **__):
        return None

    contents = {
        "torchvision": {"__version__": "0.15.0"},
        "torchvision.models": {
            "resnet50": lambda **_: resnet((3, 4, 6, 3)),
            "resnet101": lambda **_: resnet((3, 4, 23, 3)),
        },
        "torchvision.models._utils": {"IntermediateLayerGetter": LayerGetter},
        "torchvision.ops": {},
        "torchvision.ops.boxes": {"box_area": nothing},
        "timm": {},
        "timm.models": {},
        "timm.models.layers": {
            "DropPath": DropPath,
            "to_2tuple": lambda x: (x, x),
            "trunc_normal_": nn.init.trunc_normal_,
        },
        "fvcore": {},
        "fvcore.nn": {},
        "fvcore.nn.weight_init": {"c2_xavier_fill": nothing, "c2_msra_fill": nothing},
        "scipy": {},
        "scipy.optimize": {"linear_sum_assignment": nothing},
        "fairscale": {},
        "fairscale.nn": {},
        "fairscale.nn.checkpoint": {"checkpoint_wrapper": lambda module, **_: module},
    }
    modules = {}
    for name, attributes in contents.items():
        module = modules[name] = types.ModuleType(name)
        module.__path__ = []  # a package
        vars(module).update(attributes)
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(modules[parent], child, module)
    return modules
