"""Public checkpoints that open by name, with their licences, for `audiojax weights list`. Others of the same layouts open too."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """One published checkpoint.

    Attributes:
      name: on the Hugging Face hub, or of the file that the authors publish.
      tower: what it becomes.
      licence: of the weights, as their authors state it.
      where: page to download it from, for what the hub does not have.
    """

    name: str
    tower: str
    licence: str
    where: str = ""


ZENODO = "https://zenodo.org/records/3987831"
AUDIOMAE = "https://github.com/facebookresearch/AudioMAE"
BEATS = "https://github.com/microsoft/unilm/tree/master/beats"
FENSE = "https://github.com/blmoistawinde/fense/releases/tag/V0.1"

CATALOG = (
    Entry("laion/clap-htsat-unfused", "CLAP", "apache-2.0"),
    Entry("laion/clap-htsat-fused", "CLAP, fused", "apache-2.0"),
    Entry("laion/larger_clap_general", "CLAP", "apache-2.0"),
    Entry("laion/larger_clap_music", "CLAP", "apache-2.0"),
    Entry("laion/larger_clap_music_and_speech", "CLAP", "apache-2.0"),
    Entry("Cnn14_mAP=0.431.pth", "PANNs CNN14, 32 kHz", "cc-by-4.0", ZENODO),
    Entry("Cnn14_16k_mAP=0.438.pth", "PANNs CNN14, 16 kHz", "cc-by-4.0", ZENODO),
    Entry("ResNet38_mAP=0.434.pth", "PANNs ResNet38, 32 kHz", "cc-by-4.0", ZENODO),
    Entry("AudioMAE pretrained.pth", "AudioMAE", "cc-by-nc-4.0", AUDIOMAE),
    Entry("BEATs_iter3_plus_AS2M.pt", "BEATs", "mit", BEATS),
    Entry("google-bert/bert-base-uncased", "BERT", "apache-2.0"),
    Entry("google-bert/bert-large-uncased", "BERT", "apache-2.0"),
    Entry("FacebookAI/roberta-base", "RoBERTa", "mit"),
    Entry("FacebookAI/roberta-large", "RoBERTa", "mit"),
    Entry("sentence-transformers/paraphrase-TinyBERT-L6-v2", "BERT, Sentence-BERT of FENSE", "apache-2.0"),
    Entry("echecker_clotho_audiocaps_base.ckpt", "fluency detector of FENSE", "not stated", FENSE),
    Entry("echecker_clotho_audiocaps_tiny.ckpt", "fluency detector of FENSE", "not stated", FENSE),
    Entry("google-t5/t5-base", "T5 encoder", "apache-2.0"),
    Entry("google-t5/t5-large", "T5 encoder", "apache-2.0"),
    Entry("google/flan-t5-base", "FLAN-T5 encoder", "apache-2.0"),
    Entry("google/flan-t5-large", "FLAN-T5 encoder", "apache-2.0"),
    Entry("google/flan-t5-xl", "FLAN-T5 encoder", "apache-2.0"),
    Entry("meta-llama/Llama-2-7b-hf", "LLaMA", "llama2"),
    Entry("TinyLlama/TinyLlama-1.1B-Chat-v1.0", "LLaMA", "apache-2.0"),
    Entry("cvssp/audioldm-s-full-v2", "AudioLDM: VAE, U-Net, vocoder, text encoder", "cc-by-nc-sa-4.0"),
    Entry("cvssp/audioldm-m-full", "AudioLDM: VAE, U-Net, vocoder, text encoder", "cc-by-nc-sa-4.0"),
    Entry("cvssp/audioldm-l-full", "AudioLDM: VAE, U-Net, vocoder, text encoder", "cc-by-nc-sa-4.0"),
    Entry("cvssp/audioldm2", "AudioLDM 2: VAE, U-Net, vocoder", "cc-by-nc-sa-4.0"),
)
"""Licences as the model cards and repositories state them; the card that lies beside downloaded weights goes first."""


def licence_by_name(name: str) -> str | None:
    """The licence of a checkpoint whose name, or the last part of whose path, is one of the catalog's."""
    known = entry_of(name)
    return known and known.licence


def entry_of(name: str) -> Entry | None:
    """The checkpoint whose name, or the last part of whose path, this is."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return next((entry for entry in CATALOG if last == entry.name.rpartition("/")[2]), None)
