"""Tokenizers in folders: equal to those of transformers, and folders that have none or a wrong one."""

import pytest
from helpers.tiny_detectors import bert_tokenizer, clip_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertTokenizer, CLIPTokenizer

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.inference.transformers_models.inputs.tokens import open_tokenizer, problems_of

SENTENCES = st.one_of(
    st.sampled_from(
        ["the small red dog", "A  cat that's left, 2 dogs!", "", " ", "Ünïcode the dog\n", "日本 dog", "İs"]
    ),
    st.text(max_size=20),
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {kind: tmp_path_factory.mktemp(kind) for kind in ("clip", "bert")}
    clip_tokenizer(made["clip"])
    bert_tokenizer(made["bert"])
    return made


@pytest.mark.parametrize(("kind", "theirs"), [("clip", CLIPTokenizer), ("bert", BertTokenizer)])
def test_tokens_equal_those_of_transformers(kind, theirs, folders):
    own, reference = open_tokenizer(folders[kind], kind, 2000), theirs.from_pretrained(folders[kind])

    @settings(max_examples=60, deadline=None)
    @given(SENTENCES)
    def equal(sentence):
        assert own.encode(sentence).ids == reference(sentence)["input_ids"]

    equal()


def test_a_whole_tokenizer_counts_before_its_parts(folders, tmp_path):
    own = open_tokenizer(folders["clip"], "clip", 2000)
    own.save(str(tmp_path / "tokenizer.json"))
    assert open_tokenizer(tmp_path, "clip", 2000).encode("a dog").ids == own.encode("a dog").ids


@pytest.mark.parametrize("kind", ["clip", "bert"])
def test_a_folder_without_a_tokenizer_says_what_is_missing(kind, tmp_path):
    with pytest.raises(InputError, match=r"has no tokenizer, expected tokenizer\.json, or vocab"):
        open_tokenizer(tmp_path, kind, 2000)


def test_wrong_tokenizers_are_named(folders, tmp_path):
    with pytest.raises(InputError, match="has 50 words; take the tokenizer"):
        open_tokenizer(folders["bert"], "bert", 50)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(InputError, match="not a tokenizer, or a damaged one"):
        open_tokenizer(tmp_path, "clip", 2000)
    bert = open_tokenizer(folders["bert"], "bert", 2000)
    bert.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(InputError, match=r"has no token <\|startoftext\|>"):
        open_tokenizer(tmp_path, "clip", 2000)


def test_sentences_that_no_network_can_read():
    assert problems_of("a dog", [1, 5, 6, 2], 2, 4, "X") == []
    assert "has no words" in problems_of("", [1, 2], 2, 4, "X")[0]
    assert "has 5 tokens, expected at most 4" in problems_of("a dog runs", [1, 5, 6, 7, 2], 2, 4, "X")[0]
