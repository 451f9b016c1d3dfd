"""Folders laid out as RoBERTa's and T5's are published load and encode with the special tokens and padding of those models."""

import json

import numpy as np
import pytest
from tokenizers import Tokenizer as Engine
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from audiojax.text.tokenizer import Tokenizer

CAPTIONS = ["a dog barks twice while rain falls", "a bell rings followed by footsteps", "heavy rain and distant thunder"] * 3
PIECES = 320  # 256 bytes, the special tokens and some merges


@pytest.fixture(scope="module")
def roberta():
    """Byte-level BPE: <s> 0, <pad> 1, </s> 2, <unk> 3."""
    engine = Engine(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=PIECES,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    engine.train_from_iterator(CAPTIONS, trainer)
    engine.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return engine


@pytest.fixture(scope="module")
def t5():
    """SentencePiece's unigram model: <pad> 0, </s> 1, <unk> 2; only the end is marked."""
    engine = Engine(models.Unigram())
    space = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    engine.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), space])
    engine.decoder = decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    engine.train_from_iterator(
        CAPTIONS, trainers.UnigramTrainer(vocab_size=60, special_tokens=special, unk_token="<unk>", show_progress=False)
    )
    engine.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
    return engine


def write(folder, **files):
    folder.mkdir()
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def pieces(tokenizer, row, valid):
    return tokenizer.backend.convert_ids_to_tokens(row[valid].tolist())


@pytest.mark.parametrize(
    "beside",
    [
        {"config": {"model_type": "roberta"}},  # roberta-base has no tokenizer class
        {"config": {"model_type": "clap"}, "tokenizer_config": {"tokenizer_class": "RobertaTokenizer", "model_max_length": 512}},
        {"tokenizer_config": {"tokenizer_class": "RobertaTokenizerFast", "add_prefix_space": False}},
    ],
)
@pytest.mark.parametrize("one_file", [True, False])
def test_roberta(roberta, tmp_path, beside, one_file):
    folder = write(tmp_path / "roberta", **beside)
    if one_file:
        roberta.save(str(folder / "tokenizer.json"))
    else:
        roberta.model.save(str(folder))  # vocab.json and merges.txt
    tokenizer = Tokenizer.load(folder)
    ids, mask = tokenizer.encode(["a dog barks", "A DOG, 犬"], 16)
    assert (tokenizer.pad_id, tokenizer.vocab_size) == (1, PIECES)
    assert pieces(tokenizer, ids[0], mask[0]) == ["<s>", "a", "Ġdog", "Ġbarks", "</s>"]
    assert (ids[0, 5:] == 1).all()
    assert tokenizer.backend.decode(ids[1][mask[1]], skip_special_tokens=True) == "A DOG, 犬"  # bytes: no text is unknown
    cut, _ = tokenizer.encode(["a dog barks twice while rain falls"], 4)
    np.testing.assert_array_equal(cut[0], [*ids[0, :3], 2])


@pytest.mark.parametrize(
    "beside",
    [
        {"config": {"model_type": "t5"}},
        {"tokenizer_config": {"tokenizer_class": "T5Tokenizer", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}},
    ],
)
def test_t5(t5, tmp_path, beside):
    folder = write(tmp_path / "t5", **beside)
    t5.save(str(folder / "tokenizer.json"))
    tokenizer = Tokenizer.load(folder)
    ids, mask = tokenizer.encode(["a dog barks", "a 犬 barks"], 16)
    assert (tokenizer.pad_id, tokenizer.closing) == (0, 1)
    assert tokenizer.vocab_size == t5.get_vocab_size() + 100  # T5's masks for span corruption, which its class adds where they lack
    assert pieces(tokenizer, ids[0], mask[0])[0] == "▁a"  # no token opens the sequence
    assert ids[0][mask[0]].tolist() == t5.encode("a dog barks").ids
    assert (ids[0][~mask[0]] == 0).all()
    assert tokenizer.backend.decode(ids[0][mask[0]], skip_special_tokens=True) == "a dog barks"
    assert 2 in ids[1]
    cut, _ = tokenizer.encode(["a dog barks"], 3)
    np.testing.assert_array_equal(cut[0], [*ids[0, :2], 1])
