"""Tiny random text encoders and image backbones in the folders in which transformers publishes its own."""

import torch
import transformers as hf
from helpers.tiny_tokenizers import SENTENCES, bert_folder, roberta_folder

WIDTHS = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
TEXT = ("bert", "minilm", "roberta", "deberta-v2", "bart", "distilbert")
IMAGE = ("resnet", "swin", "convnext", "dinov2")


def text_folder(folder, kind, seed=0):
    """A folder with config.json, model.safetensors and the files of a tokenizer."""
    words = tokenizer_files(folder, kind)
    torch.manual_seed(seed)
    model = {
        "bert": lambda: hf.BertForMaskedLM(hf.BertConfig(**WIDTHS, vocab_size=words)),
        "minilm": lambda: hf.BertModel(hf.BertConfig(**WIDTHS, vocab_size=words)),
        "roberta": lambda: hf.RobertaModel(
            hf.RobertaConfig(**WIDTHS, vocab_size=words, max_position_embeddings=66, pad_token_id=1)
        ),
        "deberta-v2": lambda: hf.DebertaV2Model(
            hf.DebertaV2Config(
                **WIDTHS,
                vocab_size=words + 3,  # DeBERTa-v3 has more embeddings than words, too
                relative_attention=True,
                pos_att_type=["p2c", "c2p"],
                position_biased_input=False,
                position_buckets=8,
                norm_rel_ebd="layer_norm",
                share_att_key=True,
            )
        ),
        "bart": lambda: hf.BartForConditionalGeneration(
            hf.BartConfig(
                vocab_size=words,
                d_model=16,
                encoder_layers=2,
                decoder_layers=1,
                encoder_attention_heads=2,
                decoder_attention_heads=2,
                encoder_ffn_dim=32,
                decoder_ffn_dim=32,
                max_position_embeddings=64,
            )
        ),
        "distilbert": lambda: hf.DistilBertModel(
            hf.DistilBertConfig(vocab_size=words, dim=16, n_layers=2, n_heads=2, hidden_dim=32)
        ),
    }[kind]()
    spread(model).save_pretrained(folder)
    return folder


def tokenizer_files(folder, kind):
    """Writes the files of a tokenizer; returns the size of its vocabulary."""
    if kind in ("roberta", "bart"):
        roberta_folder(folder, 300)
        return 300
    if kind == "deberta-v2":
        letters = sorted({letter for sentence in SENTENCES for letter in sentence.replace(" ", "")})
        words = sorted({f"▁{word}" for sentence in SENTENCES for word in sentence.replace(",", "").split()})
        special = [(token, 0.0) for token in ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]")]
        pieces = [(piece, -1.0) for piece in words] + [(piece, -3.0) for piece in ("▁", *letters)]
        hf.DebertaV2Tokenizer(vocab=special + pieces).save_pretrained(folder)
        return len(special) + len(pieces)
    bert_folder(folder)
    return len((folder / "vocab.txt").read_text().splitlines())


def image_folder(folder, kind, seed=0):
    """A folder with config.json and model.safetensors, of a classifier or of the backbone alone."""
    torch.manual_seed(seed)
    model = {
        "resnet": lambda: hf.ResNetForImageClassification(
            hf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 8, 8, 16], depths=[1] * 4, layer_type="basic")
        ),
        "swin": lambda: hf.SwinModel(
            hf.SwinConfig(embed_dim=4, depths=[1] * 4, num_heads=[1] * 4, window_size=2, image_size=64)
        ),
        "convnext": lambda: hf.ConvNextForImageClassification(
            hf.ConvNextConfig(hidden_sizes=[4, 4, 8, 16], depths=[1] * 4)
        ),
        "dinov2": lambda: hf.Dinov2Model(hf.Dinov2Config(**WIDTHS, image_size=28, patch_size=14)),
    }[kind]()
    spread(model).save_pretrained(folder)
    return folder


def spread(model):
    """The model with weights that are not all small, so that its answers differ."""
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.1 * torch.randn_like(weight)
    return model
