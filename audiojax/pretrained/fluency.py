"""The detector of broken captions that FENSE uses (`echecker_clotho_audiocaps_base.ckpt`, `..._tiny.ckpt`): a BERT with a linear layer.

The file is a torch checkpoint without a config: {"model_type": name of the BERT, "num_classes", "state_dict"}. Sizes are those of its
tensors; heads have 64 features, as in all BERTs of Google.
"""

from functools import partial
from typing import Any

from audiojax.encoders.bert import BertClassifier, BertConfig
from audiojax.errors import UsageError
from audiojax.pretrained import bert
from audiojax.pretrained.kinds import Checkpoint, Kind, Shapes
from audiojax.pretrained.rules import Family, Row, below
from audiojax.towers.text import TextClassifierTower

HEAD = 64
ERROR = "error"  # the last label, which a caption has with any of the others
LABELS = ("add_tail", "repeat_event", "repeat_adv", "remove_conj", "remove_verb", ERROR)
WORDS, LAYER, OUT = "encoder.embeddings.word_embeddings.weight", "encoder.encoder.layer.{}.intermediate.dense.weight", "clf.weight"
ROWS = (*below("encoder/", "encoder.", bert.ROWS), Row(r"classifier/(\w+)", r"clf.\1"))
IGNORE = (r"encoder\.embeddings\.(position_ids|token_type_ids)", r"encoder\.pooler\..*")  # the pooler is not used


def recognise(shapes: Shapes) -> bool:
    """Whether a bare file holds a BERT below "encoder" and a linear layer."""
    return {WORDS, LAYER.format(0), OUT} <= shapes.keys()


def config_of(checkpoint: Checkpoint) -> BertConfig:
    """Sizes of the BERT, from the shapes of its tensors.

    Raises:
      UsageError: another number of labels, or a width that heads of 64 do not divide.
    """
    shapes = checkpoint.shapes
    labels, width = shapes[OUT]
    if labels != len(LABELS):
        raise UsageError(f"this detector has {labels} labels, and FENSE's have {len(LABELS)}: {', '.join(LABELS)}")
    if width % HEAD:
        raise UsageError(f"this detector is {width} wide, and the heads of a BERT have {HEAD} features")
    layers = 0
    while LAYER.format(layers) in shapes:
        layers += 1
    return BertConfig(
        vocab_size=shapes[WORDS][0],
        width=width,
        layers=layers,
        heads=width // HEAD,
        hidden=shapes[LAYER.format(0)][0],
        max_positions=rows_of(shapes, "position"),
        segments=rows_of(shapes, "token_type"),
    )


def rows_of(shapes: Shapes, table: str) -> int:
    """Rows of a table of embeddings. UsageError where it is missing."""
    name = f"encoder.embeddings.{table}_embeddings.weight"
    if name not in shapes:
        raise UsageError(f"this detector has no tensor {name}")
    return shapes[name][0]


def family(_: BertConfig) -> Family:
    """The table of the whole classifier."""
    return Family("fluency detector", ROWS, ignore=IGNORE)


def tower_fields(_: Checkpoint, __: BertConfig) -> dict[str, Any]:
    """The names of the logits."""
    return {"labels": LABELS}


KIND = Kind(
    config_of,
    partial(BertClassifier, classes=len(LABELS)),
    family,
    bert.one_token,
    recognise=recognise,
    tower=TextClassifierTower,
    fields=tower_fields,
)
