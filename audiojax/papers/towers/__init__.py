"""The towers of SoundWorld: small encoders of sound and of text, trained where the published ones would be downloaded.

| phase | tower | what it learns |
|---|---|---|
| detection | beats, clap | which classes sound when; CLAP's audio half alone |
| contrastive | clap | which caption belongs to which sound (arXiv 2211.06687) |
| reconstruction | audiomae | the hidden patches of a spectrogram (arXiv 2207.06405) |
| tagging | tagger | which classes sound; it is for evaluation alone and shares nothing with the others |
| masked_lm | bert | the hidden words of a caption (arXiv 1810.04805) |
| span_corruption | t5 | the spans of a caption that were cut out (arXiv 1910.10683) |
| causal_lm | llama | every next word of a caption (arXiv 2302.13971) |

Each is a phase of a run, and CLAP's run has two. All text towers of a world have one tokenizer: the same captions and size give the same
vocabulary.
"""

from audiojax.papers.towers.opening import open_tower
from audiojax.papers.towers.task import PAPER, PHASES, make_task

__all__ = ["PAPER", "PHASES", "make_task", "open_tower"]
