"""The tokenizer wrapper: shapes, special tokens, files that other tools open, and refusal of empty text."""

import json
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tokenizers import Tokenizer as Engine
from tokenizers import models

from audiojax.errors import UsageError
from audiojax.text.tokenizer import Tokenizer

CAPTIONS = [
    "a dog barks twice while rain falls",
    "a bell rings followed by footsteps",
    "footsteps on gravel then a dog barks",
    "heavy rain and distant thunder",
    "the telephone rings and a bell answers",
] * 3


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(CAPTIONS, vocab_size=120)


def test_encode_pads_to_a_static_length(tokenizer):
    ids, mask = tokenizer.encode(["a dog barks", "a bell rings followed by footsteps"], 10)
    assert ids.shape == mask.shape == (2, 10)
    assert ids.dtype == np.int32
    assert mask.dtype == bool
    token = tokenizer.backend.convert_tokens_to_ids
    for row, valid in zip(ids, mask, strict=True):
        n = valid.sum()
        assert valid[:n].all()  # padding on the right only
        assert row[0] == token("[CLS]")
        assert row[n - 1] == token("[SEP]")
        assert (row[n:] == tokenizer.pad_id).all()
    assert tokenizer.backend.decode(ids[0], skip_special_tokens=True) == "a dog barks"


def test_truncation_keeps_the_special_tokens(tokenizer):
    long, _ = tokenizer.encode(["a dog barks twice while rain falls"], 32)
    ids, mask = tokenizer.encode(["a dog barks twice while rain falls"], 5)
    assert mask.all()
    np.testing.assert_array_equal(ids[0, :4], long[0, :4])
    assert ids[0, 4] == tokenizer.backend.sep_token_id


def test_rows_are_what_is_encoded_without_padding(tokenizer):
    texts = ["a dog barks", "a bell rings followed by footsteps"]
    for length in (3, 5, 40):
        ids, mask = tokenizer.encode(texts, length)
        assert tokenizer.rows(texts, length) == [row[valid].tolist() for row, valid in zip(ids, mask, strict=True)]
    assert tokenizer.frame_ids == {tokenizer.backend.cls_token_id, tokenizer.backend.sep_token_id}
    with pytest.raises(UsageError, match="max_length 2 leaves no room"):
        tokenizer.rows(texts, 2)


def test_rows_do_not_depend_on_each_other(tokenizer):
    both, _ = tokenizer.encode(CAPTIONS[:5], 16)
    for i, caption in enumerate(CAPTIONS[:5]):
        np.testing.assert_array_equal(tokenizer.encode([caption], 16)[0][0], both[i])


def test_vocabulary(tokenizer):
    ids, mask = tokenizer.encode(CAPTIONS, 24)
    assert 5 < tokenizer.vocab_size <= 120
    assert ids.max() < tokenizer.vocab_size
    assert not (ids[mask] == tokenizer.backend.unk_token_id).any()
    strange, _ = tokenizer.encode(["犬"], 8)
    assert strange[0, 1] == tokenizer.backend.unk_token_id


def test_training_is_deterministic(tokenizer):
    for _ in range(3):
        again = Tokenizer.train(iter(CAPTIONS), vocab_size=120)
        assert again.backend.get_vocab() == tokenizer.backend.get_vocab()


def test_text_that_spells_a_piece_is_plain_text(tokenizer):
    ids, mask = tokenizer.encode(["##s dog"], 8)
    assert mask[0].sum() == 6  # [CLS] # # s dog [SEP]
    assert ids[0, 4] == tokenizer.backend.convert_tokens_to_ids("dog")


def test_saved_folder_loads_everywhere(tokenizer, tmp_path):
    from transformers import AutoTokenizer

    expected, _ = tokenizer.encode(CAPTIONS, 16)
    tokenizer.save(tmp_path / "t")
    assert {"tokenizer.json", "tokenizer_config.json"} <= {p.name for p in (tmp_path / "t").iterdir()}
    np.testing.assert_array_equal(Tokenizer.load(tmp_path / "t").encode(CAPTIONS, 16)[0], expected)
    theirs = AutoTokenizer.from_pretrained(tmp_path / "t")(
        CAPTIONS, padding="max_length", truncation=True, max_length=16, return_tensors="np"
    )
    np.testing.assert_array_equal(theirs["input_ids"], expected)


def test_folder_with_a_plain_vocabulary_and_baked_in_padding(tmp_path, tokenizer):
    """bert-base-uncased's older layout has vocab.txt alone; other folders carry a padding length inside tokenizer.json."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "bark", "##s"]
    old = tmp_path / "old"
    old.mkdir()
    (old / "vocab.txt").write_text("\n".join(words) + "\n")
    (old / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": True}))
    ids, mask = Tokenizer.load(old).encode(["A dog barks"], 8)
    np.testing.assert_array_equal(ids[0], [2, 5, 6, 7, 8, 3, 0, 0])
    np.testing.assert_array_equal(mask[0], [1, 1, 1, 1, 1, 1, 0, 0])

    tokenizer.save(tmp_path / "baked")
    file = tmp_path / "baked" / "tokenizer.json"
    state = json.loads(file.read_text())
    state["padding"] = {"strategy": {"Fixed": 40}, "direction": "Left", "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"}
    state["padding"]["pad_to_multiple_of"] = None
    file.write_text(json.dumps(state))
    np.testing.assert_array_equal(Tokenizer.load(tmp_path / "baked").encode(CAPTIONS, 16)[0], tokenizer.encode(CAPTIONS, 16)[0])


def test_pickle_and_threads(tokenizer):
    copy = pickle.loads(pickle.dumps(tokenizer))
    expected = {length: tokenizer.encode(CAPTIONS, length)[0] for length in (8, 16)}
    with ThreadPoolExecutor(4) as pool:
        lengths = [8, 16] * 40
        for length, (ids, _) in zip(lengths, pool.map(lambda n: copy.encode(CAPTIONS, n), lengths), strict=True):
            np.testing.assert_array_equal(ids, expected[length])


@pytest.mark.parametrize("texts", [["a dog", ""], ["  \n"], [None]])
def test_empty_text_is_misuse(tokenizer, texts):
    with pytest.raises(UsageError, match="empty"):
        tokenizer.encode(texts, 8)


def test_empty_text_can_be_asked_for(tokenizer):
    ids, mask = tokenizer.encode(["", "a dog", "  "], 8, allow_empty=True)
    assert mask.sum(axis=1).tolist() == [2, 4, 2]
    np.testing.assert_array_equal(ids[0], ids[2])
    with pytest.raises(UsageError, match="empty"):
        tokenizer.encode([None], 8, allow_empty=True)


def test_bad_lengths_and_folders(tokenizer, tmp_path):
    with pytest.raises(UsageError, match="max_length 2"):
        tokenizer.encode(["a dog"], 2)
    with pytest.raises(UsageError, match="no such folder"):
        Tokenizer.load(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="empty: holds no tokenizer's vocabulary: looked for tokenizer.json, vocab.txt, vocab.json with"):
        Tokenizer.load(tmp_path / "empty")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "tokenizer.json").write_text("{")
    with pytest.raises(UsageError, match="no tokenizer"):
        Tokenizer.load(tmp_path / "broken")
    with pytest.raises(UsageError, match="no captions"):
        Tokenizer.train([], 100)


@pytest.mark.parametrize("kind", ["BertTokenizer", "RobertaTokenizer", "T5Tokenizer"])
def test_a_folder_without_its_vocabulary_is_refused(tmp_path, kind):
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": kind}))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "vocab.json").write_text('{"a": 0}')  # half of a vocabulary of byte pairs
    with pytest.raises(UsageError, match="holds no tokenizer's vocabulary"):
        Tokenizer.load(tmp_path)


def test_a_vocabulary_without_words_is_refused(tmp_path):
    Engine(models.BPE()).save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>"}')
    with pytest.raises(UsageError, match="the tokenizer has no token for the letter 'a'"):
        Tokenizer.load(tmp_path)


def test_code_in_a_folder_is_neither_run_nor_asked_about(tokenizer, tmp_path, monkeypatch):
    tokenizer.save(tmp_path)
    file = tmp_path / "tokenizer_config.json"
    own = {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": [None, "own.Own"]}}
    file.write_text(json.dumps(json.loads(file.read_text()) | own))
    (tmp_path / "own.py").write_text("raise SystemExit('the code was run')\n")
    asked = []
    monkeypatch.setattr("builtins.input", lambda *words: asked.append(words) or "y")
    with pytest.raises(UsageError, match="no tokenizer can be read here"):
        Tokenizer.load(tmp_path)
    assert not asked


def test_no_jax_is_imported():
    import subprocess
    import sys

    code = "import sys, audiojax.text.tokenizer as t, audiojax.text.normalise; t.Tokenizer.train(['a dog'], 50).encode(['dog'], 4); "
    assert subprocess.run([sys.executable, "-c", code + "sys.exit('jax' in sys.modules)"], check=False).returncode == 0
