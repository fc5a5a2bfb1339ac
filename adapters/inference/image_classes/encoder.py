"""An encoder of words and short sentences: MiniLM-L6, read from the installed package without executing its code.

Source: Reimers and Gurevych, "Sentence-BERT", EMNLP 2019; mean of the token features, then unit length.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.core.io.json_text import parse_json
from rvos_ensemble.adapters.files.torch_file import reason
from rvos_ensemble.adapters.inference.tokenization import stored_tokenizer
from rvos_ensemble.adapters.networks.pretrained.config import make_config, plain_config

BATCH = 128  # sentences
LONGEST = 64  # tokens; the rest is left out
POSITIONS = "embeddings.position_ids"  # 0, 1, 2, ...: older versions of transformers stored it


class WordEncoder:
    """Words to unit vectors whose products say how similar their meanings are.

    Args:
        path: zip with `config.json`, `tokenizer.json` and `model.safetensors` of a BERT.

    Raises:
        InputError: it is damaged, or another kind of file.
    """

    def __init__(self, path: Path):
        import torch
        from safetensors.torch import load
        from transformers import BertModel

        try:
            with zipfile.ZipFile(path) as archive:  # reading a part checks its checksum
                config, tokens, weights = (
                    archive.read(name) for name in ("config.json", "tokenizer.json", "model.safetensors")
                )
            content = plain_config(parse_json(config, "config.json"), "config.json")
            network = BertModel(make_config(content, "config.json", "bert"))
            tensors = load(weights)
            tensors.pop(POSITIONS, None)
            network.load_state_dict(tensors)
        except (OSError, KeyError, ValueError, TypeError, RuntimeError, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: not the encoder of the extra [open], or damaged: {reason(error)}") from error
        self.network = network.eval().requires_grad_(False)
        self.tokenizer = stored_tokenizer(tokens.decode(), str(path))
        self.tokenizer.enable_padding()
        self.tokenizer.enable_truncation(LONGEST)
        self._torch = torch

    def __call__(self, sentences: Sequence[str]) -> np.ndarray:
        """Unit vectors, float32 [N, 384]."""
        torch, parts = self._torch, []
        for start in range(0, len(sentences), BATCH):
            encoded = self.tokenizer.encode_batch(list(sentences[start : start + BATCH]))
            ids = torch.tensor([e.ids for e in encoded])
            mask = torch.tensor([e.attention_mask for e in encoded])
            with torch.inference_mode():
                features = self.network(input_ids=ids, attention_mask=mask).last_hidden_state  # [B, N, C]
                mean = (features * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
                parts.append(torch.nn.functional.normalize(mean, dim=1).numpy())
        return np.concatenate(parts)
