"""The papers, by name. The trainer knows a paper only as the `Task` that its `make_task` returns."""

from audiojax.papers import coattention, dac, diffatr, diffusion_link, re_audioldm, towers

PAPERS = {
    "coattention": coattention.PAPER,
    "dac": dac.PAPER,
    "diffatr": diffatr.PAPER,
    "diffusion_link": diffusion_link.PAPER,
    "re_audioldm": re_audioldm.PAPER,
    "towers": towers.PAPER,
}
