"""Expressions as language models see them: official numbers, padding that changes nothing, clear faults."""

import pytest
import torch
from helpers.tiny_tokenizers import bert_folder, roberta_folder

from rvos_ensemble.adapters.core.errors import InputError
from rvos_ensemble.adapters.inference.tokenization import load_tokenizer, tokenize
from rvos_ensemble.adapters.networks import text
from rvos_ensemble.adapters.networks.text import BERT, ROBERTA

WORDS = "a dog running on the left of the second person"


@pytest.fixture(scope="module", params=["roberta", "bert"])
def language(request, tmp_path_factory):
    """(language, folder of a tiny tokenizer, a tiny model with random weights)."""
    folder = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    if request.param == "roberta":
        return ROBERTA, roberta_folder(folder), text.roberta(vocabulary=350, layers=2)
    return BERT, bert_folder(folder), text.bert(vocabulary=120, layers=2)


def test_numbers_are_those_of_transformers_own_tokenizers(language, tmp_path):
    from transformers import BertTokenizerFast, RobertaTokenizerFast

    lang, folder, _ = language
    theirs = (RobertaTokenizerFast if lang is ROBERTA else BertTokenizerFast).from_pretrained(str(folder))
    theirs.save_pretrained(str(tmp_path))
    sentences = [WORDS, "A  Dog, running\tleft", "block 0", "zebra?"]
    for place in (folder, tmp_path):  # vocab files, tokenizer.json
        ours = load_tokenizer(lang, str(place))
        for sentence in sentences:
            clean = lang.clean(sentence)
            assert tokenize(ours, lang, [sentence]) == [theirs(clean)["input_ids"]]


def test_it_is_the_model_that_transformers_runs_and_padding_changes_nothing(language):
    lang, folder, model = language
    rows = tokenize(load_tokenizer(lang, str(folder)), lang, ["a dog", WORDS, "the red block, running"])
    together = text.encode(model, lang, rows)
    assert together.padding.sum(1).tolist() == [max(map(len, rows)) - len(row) for row in rows]
    for i, row in enumerate(rows):
        with torch.no_grad():
            alone = model(torch.tensor([row]))
        assert torch.allclose(together.states[i, : len(row)], alone.last_hidden_state[0], atol=1e-5)
        if lang is ROBERTA:
            assert torch.allclose(together.sentence[i], alone.pooler_output[0], atol=1e-5)
        assert together.states[i].std() > 0.1
    assert (together.sentence is None) == (lang is BERT)


def test_a_model_built_without_memory_is_the_same(language):
    lang, folder, model = language
    with torch.device("meta"):
        empty = text.like(model.state_dict(), "", lang)
    assert empty.load_state_dict(model.state_dict(), assign=True)
    text.fill_buffers(empty)
    assert not any(b.is_meta for b in empty.buffers())
    rows = tokenize(load_tokenizer(lang, str(folder)), lang, ["a dog", WORDS])
    a, b = text.encode(model, lang, rows), text.encode(empty.eval(), lang, rows)
    assert torch.equal(a.states, b.states)


def test_long_expressions(language):
    lang, folder, model = language
    tokenizer = load_tokenizer(lang, str(folder))
    short = tokenize(tokenizer, lang, [" ".join(["dog"] * 100)])[0]
    if lang is BERT:  # cut to 256 tokens, as the official code does
        (ids,) = tokenize(tokenizer, lang, [" ".join(["dog"] * 500)])
        assert len(ids) == 256 and ids[0] == short[0] and ids[-1] == short[-1] and ids[1:101] == short[1:101]
        assert text.encode(model, lang, [ids]).states.isfinite().all()
        return
    (ids,) = tokenize(tokenizer, lang, ["a" + " dog" * 499])  # one token a word, and one at each end
    assert len(ids) == 502 and text.encode(model, lang, [ids]).states.isfinite().all()
    (ids,) = tokenize(tokenizer, lang, ["a" + " dog" * 509])
    assert len(ids) == 512 and text.encode(model, lang, [ids]).states.isfinite().all()
    with pytest.raises(InputError, match=r"has 513 tokens, expected at most 512.*shorten it"):
        tokenize(tokenizer, lang, ["a" + " dog" * 510])


def test_expressions_without_words(language):
    lang, folder, _ = language
    tokenizer = load_tokenizer(lang, str(folder))
    with pytest.raises(InputError) as error:
        tokenize(tokenizer, lang, ["", "a dog", "  "])
    assert len(error.value.problems) == 2 and "'' has no words" in str(error.value)
    if lang is BERT:  # nothing but punctuation, which the official code deletes
        with pytest.raises(InputError, match="no words"):
            tokenize(tokenizer, lang, ["?!"])


def test_uninexts_cleaning_is_the_official_one():
    assert BERT.clean('The man\'s T-shirt/cap (red): #1; "left"?') == "the mans t shirt cap red 1 left"


def test_a_tokenizer_that_is_not_there_names_its_files(language, tmp_path, monkeypatch):
    lang, _, _ = language
    with pytest.raises(InputError, match=rf"no tokenizer there, expected tokenizer.json or .*{lang.name}.*huggingface"):
        load_tokenizer(lang, str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match="in the cache of Hugging Face: give `tokenizer: FOLDER`"):
        load_tokenizer(lang)


def test_a_tokenizer_in_the_cache_is_found(language, tmp_path, monkeypatch):
    lang, folder, _ = language
    cached = tmp_path / f"models--{lang.owner}--{lang.name}"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("abc")
    (cached / "snapshots").mkdir()
    (cached / "snapshots" / "abc").symlink_to(folder)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert load_tokenizer(lang).get_vocab() == load_tokenizer(lang, str(folder)).get_vocab()


def test_damaged_and_foreign_tokenizers_are_refused(language, tmp_path):
    lang, folder, _ = language
    (tmp_path / "tokenizer.json").write_text('{"model": ')
    with pytest.raises(InputError, match="not a tokenizer, or a damaged one"):
        load_tokenizer(lang, str(tmp_path))
    other = BERT if lang is ROBERTA else ROBERTA
    load_tokenizer(lang, str(folder)).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(InputError, match=f"not the tokenizer of {other.name}"):
        load_tokenizer(other, str(tmp_path))
