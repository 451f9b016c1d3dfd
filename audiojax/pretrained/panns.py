"""CNN14 and ResNet38 in the authors' layout ("qiuqiangkong/audioset_tagging_cnn", files on Zenodo: {"model": state dict})."""

from dataclasses import replace

import numpy as np

from audiojax.audio.spectral import PANNS_16K, PANNS_32K, MelConfig
from audiojax.encoders.panns import PRESETS, Panns, PannsConfig
from audiojax.errors import UsageError
from audiojax.files import shown
from audiojax.pretrained.kinds import OWN, Checkpoint, Kind, Public, Shapes, differences, overridden, section
from audiojax.pretrained.rules import Family, Row
from audiojax.towers.panns import PannsTower

ROWS = (
    Row(r"layer(\d+)_(\d+)/downsample_conv/(\w+)", r"resnet.layer\1.\2.downsample.1.\3"),
    Row(r"layer(\d+)_(\d+)/downsample_bn/(\w+)", r"resnet.layer\1.\2.downsample.2.\3"),
    Row(r"layer(\d+)_(\d+)/([a-z]+\d)/(\w+)", r"resnet.layer\1.\2.\3.\4"),
    Row(r"(conv_block\w+)/(\w+)/(\w+)", r"\1.\2.\3"),
    Row(r"(bn0|fc1|fc_audioset)/(\w+)", r"\1.\2"),
)
FRONT_END = (r"spectrogram_extractor\..*", r"logmel_extractor\..*", r".*\.num_batches_tracked")  # we compute it, and the counters
RATES = {513: "published_32k", 257: "published_16k"}  # rows of the mel matrix in the file -> preset
DECISION_LEVEL = "DecisionLevel"  # in the names of CNN14's relatives that tag every frame
WHERE = "metadata of the file"
FRONT_ENDS = {16_000: PANNS_16K, 32_000: PANNS_32K}
HEAD = (r"(fc1|fc_audioset)\..*",)


def family(config: PannsConfig) -> Family:
    """The table of a tower; without its head, the head in the file is ignored."""
    return Family("PANNs", ROWS, ignore=FRONT_END + (() if config.head else HEAD), renames=((r"^module\.", ""),))


def config_of(checkpoint: Checkpoint) -> PannsConfig:
    """CNN14 or ResNet38, told apart by the names of their tensors, with the tagging head that the files have.

    The sizes are the published ones, but for those that `publish` wrote beside the tensors.

    Both rates have the same shapes, but not the same spectrogram: 16 kHz files keep a mel matrix of 257 rows.

    Raises:
      UsageError: a file of another rate, or of another network with the same tensors, which its name alone tells.
    """
    if DECISION_LEVEL in checkpoint.file:
        raise UsageError(f"{shown(checkpoint.file)}: {DECISION_LEVEL} networks pool otherwise than CNN14: take Cnn14_mAP=0.431.pth")
    shapes = checkpoint.shapes
    arch = "resnet38" if any("resnet." in name for name in shapes) else "cnn14"
    mel = next((shape for name, shape in shapes.items() if name.endswith("melW")), (513, 64))
    if mel[0] not in RATES:
        raise UsageError(f"PANNs: a mel matrix of {mel[0]} rows; there are {' and '.join(map(str, RATES))}, of 32 and 16 kHz")
    base = PRESETS[arch][RATES[mel[0]]]
    base = replace(base, head=any("fc_audioset" in name for name in shapes))
    config = overridden(base, section(checkpoint.own, "config"), WHERE)
    if config.sample_rate not in FRONT_ENDS:
        raise UsageError(f"{WHERE}: sample_rate is {config.sample_rate}; there are {' and '.join(map(str, FRONT_ENDS))}")
    return config


def recognise(shapes: Shapes) -> bool:
    """Every PANNs network begins so."""
    return any("conv_block1.conv1.weight" in name for name in shapes)


def example(config: PannsConfig) -> tuple[np.ndarray]:
    """Log-mel that initialises the module."""
    return (np.zeros((1, 320, config.mels), np.float32),)


def fields(checkpoint: Checkpoint, config: PannsConfig) -> dict[str, MelConfig]:
    """The front end of the published weights of that rate, with what `publish` wrote of another."""
    mel = overridden(FRONT_ENDS[config.sample_rate], section(checkpoint.own, "mel"), WHERE)
    if (mel.n_mels, mel.sample_rate) != (config.mels, config.sample_rate):
        raise UsageError(f"{WHERE}: a log-mel of {mel.n_mels} bands at {mel.sample_rate} Hz, and the network takes {config.mels}")
    return {"mel": mel}


def publish(tower: PannsTower) -> Public:
    """A bare file, with the sizes and the front end where they are not the published ones."""
    config = tower.config
    base = replace(PRESETS[config.arch]["published_32k"], head=config.head)
    own = {"config": differences(config, base), "mel": differences(tower.mel, FRONT_ENDS[config.sample_rate])}
    return Public(tower, extra={OWN: own})


KIND = Kind(config_of, Panns, family, example, recognise=recognise, tower=PannsTower, fields=fields, publish=publish)
