"""Measures of captions that need a model: BERTScore, FENSE, CLAP score, judges. Each opens its weights once and measures any captions."""

from audiojax.api.describing.caption_models.base import CaptionModel, Said, measure_all
from audiojax.api.describing.caption_models.bertscore import BertScore
from audiojax.api.describing.caption_models.clap import ClapScore
from audiojax.api.describing.caption_models.fense import Fense
from audiojax.api.describing.caption_models.judge import FunctionJudge, open_judge
from audiojax.api.describing.caption_models.llama_judge import LlamaJudge

__all__ = ["BertScore", "CaptionModel", "ClapScore", "Fense", "FunctionJudge", "LlamaJudge", "Said", "measure_all", "open_judge"]
