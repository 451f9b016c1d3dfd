"""Text from a folder with weights and a tokenizer laid out as LLaMA's: no padding token, a first token, bytes for what it does not know."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer as Engine
from tokenizers import decoders, models, normalizers, processors, trainers

from audiojax.errors import UsageError
from audiojax.models.llama import Llama, LlamaConfig
from audiojax.models.llama_generation import generate
from audiojax.pretrained.llama import family
from audiojax.pretrained.load import load_tower
from audiojax.pretrained.rules import export
from audiojax.towers.llama import bucket
from tests.encoders.filling import filled_variables, token_batch

BYTES = [f"<0x{i:02X}>" for i in range(256)]
CAPTIONS = ["a dog barks twice while rain falls", "a bell rings followed by footsteps"]
CONFIG = LlamaConfig(vocab_size=320, width=16, layers=1, heads=2, kv_heads=1, head_width=8, hidden=24, max_positions=64)
NEW = 5


def sentencepiece():
    """<unk> 0, <s> 1, </s> 2, the bytes, then pieces in which a space is a low line."""
    engine = Engine(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    engine.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    engine.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=["<unk>", "<s>", "</s>", *BYTES], show_progress=False)
    engine.train_from_iterator(CAPTIONS, trainer)
    engine.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)])
    state = json.loads(engine.to_str())
    state["added_tokens"] = state["added_tokens"][:3]  # bytes are pieces like others
    return Engine.from_str(json.dumps(state))


@pytest.fixture(scope="module")
def tower(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama")
    sentencepiece().save(str(folder / "tokenizer.json"))
    words = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(words))
    facts = {"model_type": "llama", "vocab_size": 320, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "head_dim": 8}
    facts |= {"num_key_value_heads": 1, "intermediate_size": 24, "max_position_embeddings": 64, "rms_norm_eps": 1e-5}
    (folder / "config.json").write_text(json.dumps(facts | {"bos_token_id": 1, "eos_token_id": 2}))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 300]}))
    save_file(export(filled_variables(Llama(CONFIG), *token_batch(1, 4, 320)), family(CONFIG)), folder / "model.safetensors")
    return load_tower(folder)


def test_the_folder_says_how_text_begins_and_ends(tower):
    assert tower.config == CONFIG
    assert (tower.bos_id, tower.eos_ids, tower.tokenizer.pad_id) == ((1,), (2, 300), 2)
    rows = tower.tokenizer.rows(["a dog barks", "é"])
    assert rows[0][0] == 1
    assert rows[1][-2:] == [3 + 0xC3, 3 + 0xA9]
    assert tower.tokenizer.decode(rows) == ["a dog barks", "é"]
    ids, mask = tower.tokenizer.encode(["a dog barks"], 20)
    assert (ids[~mask] == 2).all()


def plainly(tower, row, prefix=None, at=1):
    """Greedy tokens from the whole sequence at every step."""
    embed = np.asarray(tower.params["params"]["word"]["embedding"])
    x, made = embed[row], []
    if prefix is not None:
        x = np.concatenate([x[:at], prefix, x[at:]])
    run = jax.jit(lambda x, mask: tower.module.apply(tower.params, x, mask, train=False))
    for _ in range(NEW):
        padded = np.zeros((1, 40, 16), np.float32)
        padded[0, : len(x)] = x
        made.append(int(np.argmax(run(padded, np.arange(40)[None] < len(x))[0, len(x) - 1])))
        x = np.concatenate([x, embed[made[-1:]]])
        if made[-1] in tower.eos_ids:
            break
    return made


def test_texts_are_the_tokens_of_the_whole_sequence(tower):
    prompts = ["a dog barks twice", "rain"]
    made = tower.generate_ids(prompts, max_new_tokens=NEW)
    rows = [tower.tokenizer.rows([prompt])[0] for prompt in prompts]
    want = [plainly(tower, row) for row in rows]
    assert [row[:n].tolist() for row, n in zip(made.tokens, made.lengths, strict=True)] == want
    assert tower.generate(prompts, max_new_tokens=NEW) == tower.tokenizer.decode(want)
    by_ids = tower.generate_ids(rows, max_new_tokens=NEW, eos_ids=[2, 300])
    np.testing.assert_array_equal(by_ids.tokens, made.tokens)


def test_a_bucket_compiles_once(tower):
    tower.generate_ids([[1, 5], [1, 6]], max_new_tokens=NEW)
    before = generate._cache_size()
    for length in (1, 7, 16):
        tower.generate_ids([[1] * length, [1, 6]], max_new_tokens=NEW)
    tower.generate_ids([[1, 5]] * 5, max_new_tokens=NEW, batch_size=2)
    assert generate._cache_size() == before
    assert [bucket(n) for n in (1, 16, 17, 33, 64)] == [16, 16, 32, 64, 64]


def test_a_soft_prefix_stands_behind_the_first_token(tower):
    prefix = np.random.RandomState(0).standard_normal((2, 3, 16)).astype(np.float32)
    made = tower.generate_ids([[1, 9, 8], [1, 7]], prefix=prefix, prefix_at=1, max_new_tokens=NEW)
    for i, row in enumerate(([1, 9, 8], [1, 7])):
        assert made.tokens[i, : made.lengths[i]].tolist() == plainly(tower, row, prefix[i])
    holed = np.array([[True, True, False]] * 2)
    cut = tower.generate_ids([[1, 9, 8], [1, 7]], prefix=prefix, prefix_mask=holed, prefix_at=1, max_new_tokens=NEW)
    assert cut.tokens[0, : cut.lengths[0]].tolist() == plainly(tower, [1, 9, 8], prefix[0, :2])
    alone = tower.generate_ids(None, prefix=prefix, prefix_at=1, max_new_tokens=NEW)
    assert alone.tokens[1, : alone.lengths[1]].tolist() == plainly(tower, [1], prefix[1])


def test_draws_depend_on_the_seed_and_the_row_alone(tower):
    options = {"max_new_tokens": NEW, "temperature": 2.0, "top_p": 0.95}
    prompts = [[1, 5, 6], [1, 7], [1, 7]]
    whole = tower.generate_ids(prompts, seed=3, batch_size=2, **options)
    np.testing.assert_array_equal(tower.generate_ids([[1, 4], [1, 7]], seed=3, batch_size=2, **options).tokens[1], whole.tokens[1])
    assert whole.tokens[1].tolist() != whole.tokens[2].tolist()
    assert tower.generate_ids(prompts, seed=4, batch_size=2, **options).tokens.tolist() != whole.tokens.tolist()


@pytest.mark.parametrize(
    ("prompts", "options", "words"),
    [
        ([], {}, "a list of texts"),
        ("a dog", {}, "a list of texts"),
        ([""], {}, "text 0 of 1 is empty"),
        ([[]], {}, "prompt 0: ids from 0 to 319"),
        ([[1, 320]], {}, "prompt 0: ids from 0 to 319"),
        ([[1] * 40], {"max_new_tokens": 30}, "40 tokens of prompt and 30 new ones, but this model has 64 positions"),
        ([[1]], {"prefix": np.zeros((2, 3, 16))}, r"prefix \(2, 3, 16\): \[1, tokens, 16\]"),
        ([[1]], {"prefix": np.zeros((1, 3, 16)), "prefix_at": 2}, "prefix_at 2: the shortest prompt has 1"),
        ([[1]], {"beams": 4}, "no such option .*num_beams"),
        ([[1]], {"batch_size": 0}, "batch_size 0"),
        (None, {}, "a prefix is needed"),
    ],
)
def test_prompts_that_cannot_be_continued_are_refused(tower, prompts, options, words):
    with pytest.raises(UsageError, match=words):
        tower.generate_ids(prompts, **options)


def test_a_tower_without_a_tokenizer_takes_ids(tower):
    bare = replace(tower, tokenizer=None)
    assert bare.generate_ids([[1, 5], [1, 6]], max_new_tokens=NEW).tokens.shape == (2, NEW)
    for call in (bare.generate, bare.generate_ids):
        with pytest.raises(UsageError, match="no tokenizer beside these weights"):
            call(["a dog"])
