"""Runs the unchanged official code of ReferFormer, MUTR and SOC from a checkout, without its old environment.

Packages that it imports but does not need for inference are replaced in memory: torchvision (its ResNet is built from
our bottleneck, which golden numbers check), timm, fairscale, fvcore, scipy, and the tokenizer and download of
`transformers`. The compiled operator is replaced by the repository's own `ms_deform_attn_core_pytorch`. `einops` must
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
    """An official network, and a function that runs it as its inference script does.

    Args:
        model: "referformer", "mutr" or "soc".
        checkout: a clone of its repository.
        backbone: its name in this package.
        text_encoder: RoBERTa.
        expressions: all expressions that may be passed to the function.

    Returns:
        The network; and run(frames [T, 3, h, w], expression), which returns (mask logits [T, h4, w4], scores [T]) of
        the query that the script selects.
    """
    sys.path.insert(0, str(checkout))
    sys.modules.update(substitutes())
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
            output = network(samples, None, caption, [[{"size": size}]] * len(frames))
            logits, masks = output["pred_cls"][:, 0], output["pred_masks"][:, 0]
        else:
            output = network([frames], caption, [{"size": size}])
            logits, masks = output["pred_logits"][0], output["pred_masks"][0]
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
    """Replaces the official tokenizer: a caption is the index of an expression, which is a list of token numbers."""

    def __init__(self, expressions: Words):
        self.expressions = expressions

    def caption(self, expression: list[int]) -> str:
        """The caption of an expression."""
        return str(self.expressions.index(expression))

    def batch_encode_plus(self, captions: list[str], **_) -> BatchEncoding:
        """Token numbers and attention mask, as the official tokenizer returns them."""
        ids = torch.tensor([self.expressions[int(caption)] for caption in captions])
        return BatchEncoding({"input_ids": ids, "attention_mask": torch.ones_like(ids)})


class LayerGetter(nn.ModuleDict):
    """torchvision's IntermediateLayerGetter: runs the children of a network and returns the outputs of some of them."""

    def __init__(self, network: nn.Module, return_layers: dict[str, str]):
        super().__init__(OrderedDict(network.named_children()))
        self.names = return_layers

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """{name: output} of the children named in `return_layers`."""
        outputs = OrderedDict()
        for name, module in self.items():
            x = module(x)
            if name in self.names:
                outputs[self.names[name]] = x
        return outputs


class DropPath(nn.Identity):
    """timm's DropPath in evaluation mode."""

    def __init__(self, *_, **__):
        super().__init__()


def resnet(blocks: tuple[int, ...]) -> nn.Sequential:
    """A ResNet with torchvision's module names."""
    parts = OrderedDict(ResNet(blocks).named_children())
    stem = [("conv1", parts.pop("conv1")), ("bn1", parts.pop("bn1")), ("relu", nn.ReLU(inplace=True))]
    return nn.Sequential(OrderedDict([*stem, ("maxpool", nn.MaxPool2d(3, 2, 1)), *parts.items()]))


def substitutes() -> dict[str, types.ModuleType]:
    """{name: module} that replaces packages which are not installed."""

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
