"""Folders of small BERTs, RoBERTas and a LLaMA with tokenizers that are learned here, for the measures that need a model."""

import json
from dataclasses import replace

from safetensors.numpy import save_file
from tokenizers import Tokenizer as Engine
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from audiojax.encoders.bert import BertClassifier, BertConfig, BertEncoder
from audiojax.models.llama import Llama, LlamaConfig
from audiojax.pretrained import bert, fluency, llama
from audiojax.pretrained.rules import export
from audiojax.text.tokenizer import Tokenizer
from tests.encoders.filling import filled_variables, token_batch
from tests.pretrained.torch_layout import tensor, zip_file

CAPTIONS = ["a dog barks twice while rain falls", "a bell rings, followed by footsteps", "heavy rain and distant thunder"]
BERT = BertConfig(width=128, layers=2, heads=2, hidden=48, max_positions=40)
ROBERTA = replace(BERT, width=24, heads=3, max_positions=42, padding_id=1, segments=1, norm_eps=1e-5)
LLAMA = LlamaConfig(width=16, layers=1, heads=2, kv_heads=1, head_width=8, hidden=24, max_positions=512)


def wordpieces():
    """A tokenizer as that of bert-base-uncased."""
    return Tokenizer.train(CAPTIONS * 3, 80)


def byte_pairs():
    """A tokenizer as that of RoBERTa: <s> 0, <pad> 1, </s> 2, <unk> 3."""
    engine = Engine(models.BPE())
    engine.pre_tokenizer, engine.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special, letters = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"], pre_tokenizers.ByteLevel.alphabet()
    engine.train_from_iterator(
        CAPTIONS * 3, trainers.BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=letters, show_progress=False)
    )
    engine.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return engine


def bert_folder(folder):
    """A BERT whose config and tokenizer transformers opens too."""
    tokenizer = wordpieces()
    folder.mkdir(parents=True)
    tokenizer.save(folder)
    return _write(folder, "bert", replace(BERT, vocab_size=tokenizer.vocab_size))


def roberta_folder(folder):
    """A RoBERTa, the same."""
    engine = byte_pairs()
    folder.mkdir(parents=True)
    engine.save(str(folder / "tokenizer.json"))
    words = {"cls_token": "<s>", "bos_token": "<s>", "sep_token": "</s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **words}))
    return _write(folder, "roberta", replace(ROBERTA, vocab_size=engine.get_vocab_size()))


def _write(folder, kind, config):
    (folder / "config.json").write_text(json.dumps({"model_type": kind, **bert.facts_of(config)}))
    variables = filled_variables(BertEncoder(config), *token_batch(1, 4, config.vocab_size))
    save_file(export(variables, bert.family(config)), folder / "model.safetensors")
    return folder


def detector_file(path, shift=0.0):
    """A fluency detector over the words of `bert_folder`; `shift` makes it surer that there is an error."""
    config = replace(BERT, vocab_size=wordpieces().vocab_size, max_positions=64)
    state = export(filled_variables(BertClassifier(config, len(fluency.LABELS)), *token_batch(1, 4, 50)), fluency.family(config))
    state["clf.bias"] = state["clf.bias"] + shift
    tensors = {name: tensor(value) for name, value in state.items()}
    path.write_bytes(zip_file({"model_type": "prajjwal1/bert-tiny", "num_classes": len(fluency.LABELS), "state_dict": tensors}))
    return path


def llama_folder(folder):
    """A LLaMA with tokens of bytes and a first token."""
    engine = byte_pairs()
    engine.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 0)])
    folder.mkdir(parents=True)
    engine.save(str(folder / "tokenizer.json"))
    words = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **words}))
    config = replace(LLAMA, vocab_size=engine.get_vocab_size())
    facts = {"model_type": "llama", "vocab_size": config.vocab_size, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    facts |= {"num_key_value_heads": 1, "head_dim": 8, "intermediate_size": 24, "max_position_embeddings": 512, "rms_norm_eps": 1e-5}
    (folder / "config.json").write_text(json.dumps(facts | {"bos_token_id": 0, "eos_token_id": 2}))
    save_file(export(filled_variables(Llama(config), *token_batch(1, 4, 50)), llama.family(config)), folder / "model.safetensors")
    return folder
