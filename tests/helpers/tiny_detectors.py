"""Tiny segmenters and detectors of transformers with seeded weights, as folders in the Hugging Face layout."""

import functools
import json
from pathlib import Path

import torch
import transformers
from helpers.seeded import seeded
from helpers.tiny_sam import tiny_config as sam_config

CLASSES = {0: "cat", 1: "dog", 2: "sky"}
SIDE = 64  # of EoMT's and 112 of SAM 3's input, pixels
WORDS = ["a", "the", "small", "red", "dog", "cat", "that", "runs", "on", "left", "is", "task", "instance", "person"]
SPECIAL = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, ".": 1012, "?": 1029}  # as in bert-base-uncased


def swin(**outputs):
    """The config of a tiny Swin."""
    return transformers.SwinConfig(
        image_size=SIDE, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4, **outputs
    )


ALL_STAGES = {"out_features": ["stage1", "stage2", "stage3", "stage4"]}
SMALL = dict(
    hidden_dim=32,
    encoder_feedforward_dim=32,
    encoder_layers=1,
    decoder_layers=2,
    num_attention_heads=4,
    dim_feedforward=32,
    num_queries=8,
    id2label=CLASSES,
)


@functools.cache
def network(kind):
    """A tiny network of a kind in `BUILD`; it is shared, do not change it."""
    return seed(BUILD[kind]())


def seed(model, gain=1.0):
    """Fills a network with seeded weights; every tensor is drawn from its own name."""
    state = {k: seeded(k, v.shape) * gain if v.is_floating_point() else v for k, v in model.state_dict().items()}
    model.load_state_dict(state)
    return model.eval().requires_grad_(False)


def _mask2former():
    config = transformers.Mask2FormerConfig(
        backbone_config=swin(**ALL_STAGES), feature_size=32, mask_feature_size=32, **SMALL
    )
    return transformers.Mask2FormerForUniversalSegmentation(config)


def _oneformer():
    config = transformers.OneFormerConfig(
        backbone_config=swin(**ALL_STAGES),
        conv_dim=32,
        mask_dim=32,
        text_encoder_width=32,
        text_encoder_num_layers=1,
        text_encoder_vocab_size=600,
        query_dec_layers=1,
        **SMALL,
    )
    return transformers.OneFormerForUniversalSegmentation(config)


def _eomt():
    config = transformers.EomtConfig(
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=SIDE,
        patch_size=16,
        num_blocks=2,
        num_queries=8,
        mlp_ratio=1,
        id2label=CLASSES,
    )
    return transformers.EomtForUniversalSegmentation(config)


def _grounding_dino(name):
    text = dict(
        model_type="bert",
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        vocab_size=1100,
        max_position_embeddings=64,
    )
    config = getattr(transformers, f"{name}Config")(
        backbone_config=swin(out_indices=[2, 3, 4]),
        text_config=text,
        num_queries=9,
        encoder_layers=1,
        encoder_ffn_dim=16,
        encoder_attention_heads=2,
        decoder_layers=2,
        decoder_ffn_dim=16,
        decoder_attention_heads=2,
        d_model=32,
        max_text_len=16,
    )
    return getattr(transformers, f"{name}ForObjectDetection")(config)


def sam3_config(width=32):
    """The values of a tiny Sam3Config."""
    small = dict(hidden_size=width, num_attention_heads=2, intermediate_size=32)
    return dict(
        vision_config=dict(sam_config("sam3").vision_config.to_dict(), fpn_hidden_size=width),
        text_config=dict(
            model_type="clip_text_model",
            vocab_size=600,
            hidden_size=16,
            intermediate_size=16,
            projection_dim=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=32,
        ),
        geometry_encoder_config=dict(small, num_layers=1),
        detr_encoder_config=dict(small, num_layers=1),
        detr_decoder_config=dict(small, num_layers=2, num_queries=6),
        mask_decoder_config=dict(hidden_size=width, num_upsampling_stages=3, num_attention_heads=2),
    )


def sam3_video():
    """A detector and a tracker that share an image encoder, as facebook/sam3 is published."""
    tracker = sam_config("sam3").to_dict()
    detector = {**sam3_config(tracker["vision_config"]["fpn_hidden_size"]), "model_type": "sam3"}
    config = transformers.Sam3VideoConfig(detector_config=detector, tracker_config=tracker)
    return seed(transformers.Sam3VideoModel(config))


BUILD = {
    "mask2former": _mask2former,
    "oneformer": _oneformer,
    "eomt": _eomt,
    "grounding-dino": lambda: _grounding_dino("GroundingDino"),
    "mm-grounding-dino": lambda: _grounding_dino("MMGroundingDino"),
    "sam3": lambda: transformers.Sam3Model(transformers.Sam3Config(**sam3_config())),
}
SHORT = {"size": {"shortest_edge": 60, "longest_edge": 90}, "image_mean": [0.485, 0.456, 0.406]}
PROCESSORS = {  # preprocessor_config.json; sides that no frame of the tests has
    "mask2former": {**SHORT, "size_divisor": 32},
    "oneformer": SHORT,
    "eomt": {"size": {"shortest_edge": SIDE, "longest_edge": SIDE}, "do_pad": True},
    "grounding-dino": SHORT,
    "mm-grounding-dino": SHORT,
}


def write(folder, kind, model=None):
    """A complete folder of a tiny network; returns its path."""
    folder = Path(folder)
    (model or network(kind)).save_pretrained(folder)
    if kind in PROCESSORS:
        (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSORS[kind]))
    if kind in ("oneformer", "sam3"):
        clip_tokenizer(folder)
    elif kind.endswith("grounding-dino"):
        bert_tokenizer(folder)
    return folder


def bert_tokenizer(folder):
    """vocab.txt with a few words; special tokens have the numbers that GroundingDINO expects."""
    words = iter(WORDS)
    names = {n: token for token, n in SPECIAL.items()}
    lines = [names.get(n) or (next(words, f"[unused{n}]") if n > 1029 else f"[unused{n}]") for n in range(1060)]
    (Path(folder) / "vocab.txt").write_text("\n".join(lines) + "\n")


def clip_tokenizer(folder):
    """vocab.json and merges.txt of CLIP's kind, trained on a few words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=340, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False, min_frequency=1
    )
    tokenizer.train_from_iterator([" ".join(WORDS)] * 3, trainer)
    content = json.loads(tokenizer.to_str())["model"]
    vocabulary = dict.fromkeys([*content["vocab"], *(f"{letter}</w>" for letter in alphabet)])
    names = [*vocabulary, "<|startoftext|>", "<|endoftext|>"]
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in content["merges"]]
    (Path(folder) / "vocab.json").write_text(json.dumps({name: i for i, name in enumerate(names)}))
    (Path(folder) / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")


def changed(folder, name="config.json", **values):
    """Changes values of a json file in a folder."""
    file = Path(folder) / name
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def frame(height=46, width=70, seed=0):
    """A smooth picture, uint8 [H, W, 3]."""
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand(1, 3, 6, 8, generator=generator)
    x = torch.nn.functional.interpolate(small, size=(height, width), mode="bilinear", align_corners=True)
    return (x[0] * 255).byte().permute(1, 2, 0).numpy().copy()
