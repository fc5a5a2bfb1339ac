"""Tiny tokenizers, trained on a few sentences, in the files that the real ones come in: for tests of models."""

from tokenizers import BertWordPieceTokenizer, ByteLevelBPETokenizer

SENTENCES = ["a dog running on the left", "the second person from the right, walking", "a red block", "block 0"]


def roberta_folder(folder, vocabulary=350):
    """A folder with vocab.json and merges.txt."""
    tokenizer = ByteLevelBPETokenizer()
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer.train_from_iterator(
        SENTENCES * 3, vocabulary, min_frequency=1, special_tokens=specials, show_progress=False
    )
    return save(tokenizer, folder)


def bert_folder(folder, vocabulary=120):
    """A folder with vocab.txt."""
    tokenizer = BertWordPieceTokenizer()
    tokenizer.train_from_iterator(SENTENCES * 3, vocabulary, 1, show_progress=False)
    return save(tokenizer, folder)


def save(tokenizer, folder):
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_model(str(folder))
    return folder
