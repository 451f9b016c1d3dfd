"""Text to static-shape token ids. Host only: no jax, no network, safe to pickle and to call from several threads."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from audiojax.errors import UsageError
from audiojax.text.normalise import PUNCTUATION

SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
VOCABULARIES = (("tokenizer.json",), ("vocab.txt",), ("vocab.json", "merges.txt"), ("*.model",))  # a folder holds all files of one
PAD, UNK, CLS, SEP, MASK = range(len(SPECIAL))  # their ids in every vocabulary that `Tokenizer.train` learns; words come after them


def has_vocabulary(folder: Path) -> bool:
    """Whether a folder holds what a tokenizer is made from; tokenizer_config.json alone is not."""
    return any(all(any(folder.glob(file)) for file in files) for files in VOCABULARIES)


@dataclass(frozen=True)
class Tokenizer:
    """A fast tokenizer of the transformers package with one batched call; build it with `train` or `load`.

    Attributes:
      backend: the transformers tokenizer, without padding or truncation of its own.
      closing: special tokens that end every sequence ([SEP] for BERT: 1); truncation keeps them.
    """

    backend: Any
    closing: int

    @classmethod
    def load(cls, folder: str | Path) -> "Tokenizer":
        """Opens a folder in Hugging Face format (tokenizer.json, or an older vocabulary, beside tokenizer_config.json), offline.

        Nothing in the folder is executed.

        A tokenizer without a padding token, such as LLaMA's, pads with its end token: the mask says what is padding.

        Raises:
          UsageError: no such folder, no vocabulary in it, or a tokenizer that cannot be read, needs its own code, or has no padding token.
        """
        from transformers import AutoTokenizer

        if not Path(folder).is_dir():
            raise UsageError(f"{folder}: no such folder; a tokenizer is a folder with tokenizer.json and tokenizer_config.json")
        if not has_vocabulary(Path(folder)):  # transformers would make an empty one up
            looked = ", ".join(" with ".join(files) for files in VOCABULARIES)
            raise UsageError(f"{folder}: holds no tokenizer's vocabulary: looked for {looked}")
        try:
            backend = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
        except Exception as error:  # the package raises OSError, ValueError, KeyError, or an error of its parser
            raise UsageError(f"{folder}: no tokenizer can be read here ({str(error).splitlines()[0]})") from error
        if backend.pad_token_id is None:
            backend.pad_token = backend.eos_token or backend.unk_token
        if not backend.is_fast or backend.pad_token_id is None:
            raise UsageError(f"{folder}: the tokenizer needs a fast (tokenizer.json) form and a padding token")
        return cls._wrap(backend, f"{folder}: the tokenizer")

    @classmethod
    def train(cls, captions: Iterable[str], vocab_size: int) -> "Tokenizer":
        """Learns a lower-casing BERT WordPiece vocabulary; the same captions give the same vocabulary.

        Args:
          captions: training texts, as `clean_caption` returns them.
          vocab_size: number of entries, the five special tokens included; few captions may give fewer, and every single letter is kept.
        """
        from tokenizers import Tokenizer as Engine
        from tokenizers import decoders, models, processors
        from transformers import BertTokenizerFast

        vocabulary = _learn_wordpieces(list(captions), vocab_size)
        engine = Engine(models.WordPiece(vocab=vocabulary, unk_token=SPECIAL["unk_token"]))
        engine.normalizer, engine.pre_tokenizer = _bert_splitting()
        engine.decoder = decoders.WordPiece(prefix="##")
        ends = [(token, vocabulary[token]) for token in (SPECIAL["cls_token"], SPECIAL["sep_token"])]
        engine.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
        )
        return cls._wrap(BertTokenizerFast(tokenizer_object=engine, **SPECIAL), "the tokenizer")

    @classmethod
    def _wrap(cls, backend: Any, name: str) -> "Tokenizer":
        """UsageError, with the tokenizer's name, where it leaves nothing of a text."""
        backend.backend_tokenizer.no_padding()
        backend.backend_tokenizer.no_truncation()
        special = backend.backend_tokenizer.encode("a").special_tokens_mask
        content = [i for i, flag in enumerate(special) if not flag]
        if not content:
            raise UsageError(f"{name} has no token for the letter 'a': its vocabulary is empty or damaged")
        return cls(backend, len(special) - 1 - content[-1])

    @property
    def vocab_size(self) -> int:
        """Rows that a word table needs: every id that `encode` returns is below it."""
        return max(self.backend.get_vocab().values()) + 1

    @property
    def pad_id(self) -> int:
        """Id at the positions where the mask is False."""
        return self.backend.pad_token_id

    @property
    def frame_ids(self) -> frozenset[int]:
        """The special tokens that stand around every text."""
        encoding = self.backend.backend_tokenizer.encode("a")
        return frozenset(token for token, special in zip(encoding.ids, encoding.special_tokens_mask, strict=True) if special)

    def identity(self) -> str:
        """Hash of everything that decides the ids of a text."""
        return hashlib.sha256(self.backend.backend_tokenizer.to_str().encode()).hexdigest()

    def encode(
        self, texts: Sequence[str], max_length: int, *, allow_empty: bool = False
    ) -> tuple[Int[np.ndarray, "n l"], Bool[np.ndarray, "n l"]]:
        """Returns (ids int32, mask bool, True = token), padded on the right or cut to `max_length` tokens, special tokens kept.

        Args:
          allow_empty: whether a text may be empty or blank; "" becomes the special tokens alone, the unconditional text of a generator.

        Raises:
          UsageError: a text that is empty, blank or no string; or a max_length without room for a token.
        """
        rows = self.rows(texts, max_length, allow_empty=allow_empty)
        ids = np.full((len(texts), max_length), self.pad_id, np.int32)
        mask = np.zeros((len(texts), max_length), bool)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = row
            mask[i, : len(row)] = True
        return ids, mask

    def rows(self, texts: Sequence[str], max_length: int | None = None, *, allow_empty: bool = False) -> list[list[int]]:
        """The ids of each text with the special tokens, whatever their number, or cut as `encode` does; `allow_empty` as there.

        Raises:
          UsageError: as `encode`.
        """
        if max_length is not None and max_length < self.closing + 2:
            raise UsageError(f"max_length {max_length} leaves no room for text between the special tokens")
        for i, text in enumerate(texts):
            if not isinstance(text, str) or not (allow_empty or text.strip()):
                raise UsageError(f"text {i} of {len(texts)} is empty: {text!r}")
        rows = [encoding.ids for encoding in self.backend.backend_tokenizer.encode_batch(list(texts))]
        if max_length is None:
            return rows
        return [row if len(row) <= max_length else row[: max_length - self.closing] + row[len(row) - self.closing :] for row in rows]

    def decode(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """The text of each row of ids, without special tokens and without white space at its ends; words with a hyphen are one again."""
        texts = [text.strip() for text in self.backend.batch_decode([list(map(int, row)) for row in rows], skip_special_tokens=True)]
        pair = self.backend.backend_tokenizer.encode("a-a", add_special_tokens=False).ids
        split = " - " in self.backend.decode(pair)  # BERT's words end at a hyphen, and its decoder puts a space around each
        return [text.replace(" - ", "-") for text in texts] if split else texts

    def save(self, folder: str | Path) -> None:
        """Writes tokenizer.json and tokenizer_config.json, which `load` and transformers' AutoTokenizer open."""
        self.backend.save_pretrained(str(folder))

    def save_cleaning(self, folder: str | Path, max_length: int) -> None:
        """`save`, with the rule of `clean_caption` as a part of the tokenizer for those who call it alone; texts have `max_length`."""
        from tokenizers import Regex, normalizers
        from tokenizers import Tokenizer as Engine
        from transformers import PreTrainedTokenizerFast  # BERT's own class would put its normaliser in the place of this one

        engine = Engine.from_str(self.backend.backend_tokenizer.to_str())
        cleaning = [normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace(Regex(PUNCTUATION.pattern), " ")]
        engine.normalizer = normalizers.Sequence([*cleaning, *filter(None, [engine.normalizer])])
        special = {key: str(token) for key, token in self.backend.special_tokens_map.items()}
        PreTrainedTokenizerFast(tokenizer_object=engine, model_max_length=max_length, **special).save_pretrained(str(folder))


def _bert_splitting() -> tuple[Any, Any]:
    """How BERT prepares text before WordPiece: (lower-casing normaliser, splitter at white space and punctuation)."""
    from tokenizers import normalizers, pre_tokenizers

    return normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()


def _learn_wordpieces(captions: list[str], vocab_size: int) -> dict[str, int]:
    """token -> id. The library numbers the pieces inside words in hash order, and breaks ties by number; naming them first pins both."""
    from tokenizers import Tokenizer as Engine
    from tokenizers import models, trainers

    engine = Engine(models.WordPiece(unk_token=SPECIAL["unk_token"]))
    engine.normalizer, engine.pre_tokenizer = _bert_splitting()
    texts = {engine.normalizer.normalize_str(caption) for caption in captions}
    words = {word for text in texts for word, _ in engine.pre_tokenizer.pre_tokenize_str(text)}
    if not words:
        raise UsageError("no captions to learn a vocabulary from")
    inner = sorted({f"##{character}" for word in words for character in word[1:]})
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size, special_tokens=[*SPECIAL.values(), *inner], limit_alphabet=2**20, show_progress=False
    )
    engine.train_from_iterator(captions, trainer)
    return engine.get_vocab()
