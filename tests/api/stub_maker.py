"""A maker without weights, for the tests of everything around one."""

import numpy as np

from audiojax.api.making.maker import Heard, Maker
from audiojax.api.making.wishes import SECONDS, Made
from audiojax.models import hifigan, unet, vae
from audiojax.papers.re_audioldm.clips import geometry_of


class Hummer(Maker):
    """Hums a tone whose pitch is that of the prompt's length; may break at a sound."""

    model_id = "hummer"

    def __init__(self, break_at=None):
        self.geometry = geometry_of(unet.PRESETS["audioldm-s"], vae.PRESETS["audioldm"], hifigan.PRESETS["audioldm"])
        self.source, self.seconds, self.break_at, self.plans = "runs/hummer", SECONDS, break_at, []

    def check(self, wishes, plan):
        self.networks = self  # without a ranker
        self.ranker = None
        super().check(wishes, plan)

    def make(self, wishes, plan, reference=None, batch_size=None):
        self.check(wishes, plan)
        self.plans.append((plan, reference))
        for i, wish in enumerate(wishes):
            if i == self.break_at:
                raise RuntimeError("killed")
            samples = round(plan.seconds * self.sample_rate) if reference is None else reference.length
            wave = 0.3 * np.sin(np.arange(samples) * len(wish.prompt) / 100)
            yield Made(wish, wave.astype(np.float32), self.sample_rate)

    def hear(self, path):
        return Heard(np.sin(np.arange(16_000) / 10).astype(np.float32), 44_100)
