"""CNN14 and ResNet38 in the authors' layout ("qiuqiangkong/audioset_tagging_cnn", files on Zenodo: {"model": state dict})."""

from audiojax.encoders.panns import PannsConfig
from audiojax.pretrained.rules import Family, Row

ROWS = (
    Row(r"layer(\d+)_(\d+)/downsample_conv/(\w+)", r"resnet.layer\1.\2.downsample.1.\3"),
    Row(r"layer(\d+)_(\d+)/downsample_bn/(\w+)", r"resnet.layer\1.\2.downsample.2.\3"),
    Row(r"layer(\d+)_(\d+)/([a-z]+\d)/(\w+)", r"resnet.layer\1.\2.\3.\4"),
    Row(r"(conv_block\w+)/(\w+)/(\w+)", r"\1.\2.\3"),
    Row(r"(bn0|fc1|fc_audioset)/(\w+)", r"\1.\2"),
)
FRONT_END = (r"spectrogram_extractor\..*", r"logmel_extractor\..*", r".*\.num_batches_tracked")  # we compute it, and the counters
HEAD = (r"(fc1|fc_audioset)\..*",)


def family(config: PannsConfig) -> Family:
    """The table of a tower; without its head, the head in the file is ignored."""
    return Family("PANNs", ROWS, ignore=FRONT_END + (() if config.head else HEAD), renames=((r"^module\.", ""),))
