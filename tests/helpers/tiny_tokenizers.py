"""Tiny tokenizers of a few sentences, in the files that the real ones come in: for tests of models."""

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


def bert_folder(folder):
    """A folder with vocab.txt. It is written, not trained: training numbers the words another way in every process, and
    with them the weights that a test gives these numbers."""
    words = sorted({word for sentence in SENTENCES for word in sentence.replace(",", " , ").split()})
    letters = sorted({letter for word in words for letter in word})
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters), *words]
    return save(BertWordPieceTokenizer({piece: i for i, piece in enumerate(dict.fromkeys(pieces))}), folder)


def save(tokenizer, folder):
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_model(str(folder))
    return folder
