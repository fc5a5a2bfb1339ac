"""Text encoders and image backbones from folders in the Hugging Face layout: config.json, safetensors, tokenizer.

Only files of the folder are read, and nothing in them is executed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.disk import user_path
from rvos_ensemble.adapters.core.io.json_text import read_json
from rvos_ensemble.adapters.core.messages import first_few
from rvos_ensemble.adapters.files.torch_file import reason
from rvos_ensemble.adapters.inference.checkpoints.folder import MOST_JSON, WeightsFolder, open_folder
from rvos_ensemble.adapters.inference.checkpoints.pretrained import quiet
from rvos_ensemble.adapters.networks.grounding.description import colour
from rvos_ensemble.adapters.networks.pretrained import image_backbone, text_encoder
from rvos_ensemble.adapters.networks.pretrained.config import make_config
from rvos_ensemble.adapters.networks.pretrained.image_backbone import MEAN, STAGES, STD, ImageBackbone, LastMap
from rvos_ensemble.adapters.networks.pretrained.text_encoder import TextEncoder

PROCESSOR = "preprocessor_config.json"
TOKENIZERS = (  # alternative sets of files of a tokenizer
    ("tokenizer.json",),
    ("vocab.txt",),
    ("vocab.json", "merges.txt"),
    ("spm.model",),
    ("spiece.model",),
    ("sentencepiece.bpe.model",),
)
LONGEST = 512  # tokens, for encoders that have no limit of their own
ABSENT = 10**6  # larger values of `model_max_length` mean that the tokenizer knows no limit


def read_text_encoder(path: str, tokenizer: str | None = None) -> tuple[TextEncoder, nn.Module]:
    """The text encoder in a folder, with its weights.

    Args:
        path: folder with config.json and safetensors, or a repository in the cache of huggingface_hub.
        tokenizer: folder with the tokenizer's files; None for the same folder.

    Raises:
        InputError: files that are missing, damaged, of another kind of network, or that do not fit each other.
    """
    folder = open_folder(user_path(path))
    content = text_encoder.plain(read_json(folder.config, MOST_JSON), str(folder.config))
    config = make_config(content, str(folder.config))
    words, _ = text_encoder.sizes_of(config, str(folder.config))
    model = _loaded(text_encoder.class_of(config), folder, config, **text_encoder.without_pooler(config))
    encoder = text_encoder.encoder_of(model[0])
    _check_complete(folder, model, encoder)
    place = user_path(tokenizer) if tokenizer else folder.config.parent
    rules = _tokenizer(place, config)
    backend = rules.backend_tokenizer
    backend.no_padding()
    backend.no_truncation()
    most = max(backend.get_vocab(with_added_tokens=True).values(), default=0)
    if most >= words:
        raise InputError(f"{place}: a tokenizer with numbers up to {most}, expected less than {words} as {path} has")
    padding = 0 if rules.pad_token_id is None else rules.pad_token_id  # masked, so that any token will do
    longest = _longest(encoder, rules.model_max_length)
    return TextEncoder(json.dumps(content), backend.to_str(), padding, longest), encoder


def read_image_backbone(path: str) -> tuple[ImageBackbone, LastMap]:
    """The image backbone in a folder, with its weights; its last map is used.

    Args:
        path: folder with config.json and safetensors, or a repository in the cache of huggingface_hub. The mean and
            standard deviation of its images are read from preprocessor_config.json, ImageNet's are used without it.

    Raises:
        InputError: files that are missing, damaged, or of another kind of network.
    """
    folder = open_folder(user_path(path))
    content = image_backbone.plain(read_json(folder.config, MOST_JSON), str(folder.config))
    content = {k: v for k, v in content.items() if k not in STAGES}
    config = make_config(content, str(folder.config))
    model = _loaded(image_backbone.class_of(config), folder, config)
    _check_complete(folder, model, model[0], but="hidden_states_norms.")  # added by transformers, for new tasks
    mean, std = _normalisation(folder.config.parent / PROCESSOR)
    body = model[0].eval()
    backbone = ImageBackbone(json.dumps(content), image_backbone.stride_of(body, str(folder.config)), mean, std)
    return backbone, backbone.around(body)


def _loaded(kind: Any, folder: WeightsFolder, config: Any, **options: Any) -> tuple[nn.Module, list[str]]:
    """A network of transformers and the names of its weights that the folder lacks."""
    place = folder.config.parent
    try:
        with quiet():
            model, report = kind.from_pretrained(
                place,
                config=config,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=torch.float32,
                output_loading_info=True,
                **options,
            )
    except Exception as error:  # transformers and safetensors raise many kinds for files that do not fit
        raise InputError(f"{place}: its weights cannot be loaded as {config.model_type} ({reason(error)})") from error
    return model, sorted(report["missing_keys"])


def _check_complete(
    folder: WeightsFolder, loaded: tuple[nn.Module, list[str]], part: nn.Module, but: str | None = None
) -> None:
    """Checks that the folder has all weights of a part of a network, except those whose names start with `but`."""
    model, missing = loaded
    own = {id(weight) for weight in part.parameters()}
    named = [(k, v) for k, v in model.named_parameters() if not (but and k.startswith(but))]
    if lost := [k for k, v in named if k in missing and id(v) in own]:
        raise InputError(f"{folder.config.parent}: weights of {model.config.model_type} are missing: {first_few(lost)}")


def _tokenizer(folder: Path, config: Any) -> Any:
    """The tokenizer in a folder, as transformers reads it.

    Raises:
        InputError: no tokenizer there, or one that needs another package or cannot be read.
    """
    from transformers import AutoTokenizer

    if not any(all((folder / name).is_file() for name in names) for names in TOKENIZERS):
        wanted = " or ".join(" + ".join(names) for names in TOKENIZERS)
        raise InputError(
            f"{folder}: no tokenizer there, expected {wanted}; copy the tokenizer's files of the text encoder "
            f"({config.model_type}) into it, or set `tokenizer=FOLDER`"
        )
    try:
        with quiet():
            rules = AutoTokenizer.from_pretrained(folder, config=config, local_files_only=True, trust_remote_code=False)
        rules.backend_tokenizer.to_str()
    except Exception as error:  # also packages that are not installed, such as sentencepiece
        raise InputError(
            f"{folder}: its tokenizer cannot be read ({reason(error)}); a folder with tokenizer.json needs no other "
            "package: write it with `AutoTokenizer.from_pretrained(...).save_pretrained(FOLDER)`"
        ) from error
    return rules


def _longest(encoder: nn.Module, most: int) -> int:
    """Maximum number of tokens: what the tokenizer says, and as many as there are positions."""
    limits = [most] if most < ABSENT else []
    for name, module in encoder.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            # RoBERTa's positions start after the padding token
            limits.append(module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1))
    positions = getattr(encoder.config, "max_position_embeddings", None)
    return max(1, min([*limits, *([positions] if positions else []), LONGEST]))


def _normalisation(path: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the channels that a preprocessor's file names."""
    if not path.is_file():
        return MEAN, STD
    content = read_json(path)
    if not isinstance(content, Mapping) or not {"image_mean", "image_std"} <= content.keys():
        return MEAN, STD
    mean, std = (colour(content[name], f"{path}: {name}") for name in ("image_mean", "image_std"))
    if min(std) <= 0:
        raise InputError(f"{path}: image_std is {list(std)}, expected positive numbers")
    return mean, std
