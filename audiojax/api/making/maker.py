"""Making sounds: prompts become rows of a batch, rows become latents, spectrograms and waveforms, and a CLAP picks the best of several."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from audiojax.api.making.wishes import SECONDS, Made, Plan, Wish, make_plan
from audiojax.audio.io import SILENCE, DecodeOptions
from audiojax.audio.pool import decode_files
from audiojax.audio.reasons import AudioFileError, BadAudio
from audiojax.audio.spectral import log_mel
from audiojax.errors import UsageError
from audiojax.files import shown
from audiojax.models.unet import Context
from audiojax.papers.re_audioldm.clips import Reference, geometry_of, reference_of, samples_of, with_kept
from audiojax.papers.re_audioldm.inference import Condition, Rows, sample_on, steer
from audiojax.papers.re_audioldm.settings import Sampling
from audiojax.progress import counting_bar
from audiojax.sampling import initial_noise
from audiojax.schedule import Schedule
from audiojax.towers.clap import ClapTextTower, ClapTower
from audiojax.towers.latent import GriffinLimTower, HifiganTower, UnetTower, VaeTower
from audiojax.towers.waveforms import clips_at
from audiojax.trainer.layout import Layout

MAKE_BATCH = 4  # sounds made at a time, at least one a device
MAKE_SECONDS = 40.0  # of sound at a time, likewise


class Retrieval(Protocol):
    """What a U-Net with contexts is told besides a text's embedding: features of what is retrieved for the text.

    Attributes:
      facts: what decides them besides text and embedding, for `Maker.model_id`.
    """

    facts: str

    def contexts(self, wishes: Sequence[Wish], vectors: Float[np.ndarray, "b d"]) -> tuple[Context, ...]:
        """(tokens, mask) for each context of the U-Net, of wishes and the embeddings of their prompts."""

    def null(self, rows: int) -> tuple[Context, ...]:
        """The same where nothing is wanted."""


@dataclass(frozen=True, eq=False)
class Networks:
    """What sounds are made with; the weights of U-Net, autoencoder and vocoder lie on all devices of the layout.

    Attributes:
      text: the CLAP that the U-Net was trained beside.
      ranker: a CLAP with an audio half, which picks among candidates; None = there is none.
      retrieval: for a U-Net with contexts.
    """

    text: ClapTextTower | ClapTower
    unet: UnetTower
    vae: VaeTower
    vocoder: HifiganTower | GriffinLimTower
    schedule: Schedule
    layout: Layout
    ranker: ClapTower | None = None
    retrieval: Retrieval | None = None


class Heard(NamedTuple):
    """A sound file as samples: `samples` [n] at the rate of a maker, and the rate of the file, in Hz."""

    samples: Float[np.ndarray, " n"]
    file_rate: int


class Maker:
    """Makes sounds from texts, on all devices.

    Attributes:
      networks: that it is made of.
      geometry: how samples, frames and latents go together.
      source: where it comes from.
      seconds: of a sound where nothing else is said: the length of the clips that it was trained on.
    """

    def __init__(self, networks: Networks, source: str = "", seconds: float = SECONDS):
        """UsageError: the networks do not go together."""
        self.networks, self.source, self.seconds = networks, source, seconds
        self.geometry = geometry_of(networks.unet.config, networks.vae.config, networks.vocoder.config)
        unet, width = networks.unet.config, networks.text.config.projection
        if unet.class_width != width or (any(unet.contexts) and networks.retrieval is None):
            raise UsageError(
                f"{shown(source)}: its U-Net takes embeddings of width {unet.class_width} and contexts {unet.contexts}; texts alone give"
                f" embeddings of width {width}"
            )

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return self.geometry.sample_rate

    @cached_property
    def model_id(self) -> str:
        """Hash of the weights and of how they are used."""
        parts = [self.networks.text, self.networks.unet, self.networks.vae, self.networks.vocoder, self.networks.ranker]
        facts: list = [self.networks.schedule.alpha_bar.tobytes()]
        facts += [None if tower is None else (tower.digest, repr(tower.config), str(tower.module.dtype)) for tower in parts]
        facts += [self.networks.retrieval.facts] if self.networks.retrieval else []
        return hashlib.blake2b(repr(facts).encode(), digest_size=16).hexdigest()

    def generate(
        self,
        prompts: str | Sequence[str],
        *,
        negative: str = "",
        seed: int = 0,
        seconds: float | None = None,
        steps: int = Sampling.steps,
        guidance: float = Plan.guidance,
        sampler: str = Sampling.sampler,
        eta: float = Sampling.eta,
        candidates: int = 1,
        audio: str | os.PathLike | tuple[np.ndarray, int] | None = None,
        strength: float | None = None,
        inpaint: tuple[float, float] | None = None,
        extend: float | None = None,
        batch_size: int | None = None,
        progress: bool = False,
    ) -> list[Made]:
        """A sound for each prompt, in their order. The same prompt and seed give the same sound, up to rounding, whatever stands beside it.

        Args:
          negative: what is not to be heard.
          seconds: any length up to a minute; by default that of the clips of training, 10 for public weights. Of a reference the first so
            many.
          steps: calls of the U-Net, 1 to 500; a number whose path would begin far from noise, such as 400, is refused with the nearest.
          guidance: how strongly the prompt steers; 1 = without a comparison with `negative`.
          sampler: "ddim", "dpm++" (good with 20 steps) or "ddpm".
          eta: of DDIM; 0 draws nothing after the first noise.
          candidates: made for each prompt, of which the one that CLAP finds nearest to it is kept.
          audio: a reference, a file or (waveform [n], sample rate), that the sounds are made from.
          strength: how far they may go from it: 1 = as far as without it, 0 = it is only encoded and decoded. 0.5 by default, and 1 for a
            hole that is filled.
          inpaint: (start, end) in seconds: only this stretch of the reference is made anew.
          extend: seconds that are made after the end of the reference.
          batch_size: sounds made at a time.
          progress: show a bar on stderr.

        Raises:
          UsageError: an empty prompt, or a value that makes no sense.
          AudioFileError: the reference cannot be read.
        """
        wishes = [Wish(prompt, negative, seed) for prompt in ([prompts] if isinstance(prompts, str) else prompts)]
        if audio is None and not (strength is None and inpaint is None and extend is None):
            raise UsageError("strength, inpaint and extend say what becomes of a reference: name one in audio")
        reference = None
        if audio is not None:
            samples = self.hear(audio).samples if isinstance(audio, str | os.PathLike) else _mono(*audio, self.sample_rate)
            reference = reference_of(samples, self.geometry, seconds=seconds, inpaint=inpaint, extend=extend)
        how = {"sampler": sampler, "steps": steps, "eta": eta, "strength": strength, "guidance": guidance, "candidates": candidates}
        plan = self.plan(reference, seconds, **how)
        with counting_bar("sounds", progress) as bar:
            task = bar.add_task("making", total=len(wishes))
            found = []
            for made in self.make(wishes, plan, reference, batch_size):
                found.append(made)
                bar.advance(task)
        return found

    def plan(self, reference: Reference | None = None, seconds: float | None = None, **how: Any) -> Plan:
        """The plan of options of `generate`, `self.seconds` long where nothing is said. UsageError for values that make no sense."""
        return make_plan(reference, seconds=self.seconds if seconds is None else seconds, **how)

    def hear(self, path: str | os.PathLike) -> Heard:
        """A sound file at the rate of this maker.

        Raises:
          AudioFileError: it cannot be read.
          UsageError: it is silent.
        """
        ((_, clip),) = decode_files([path], DecodeOptions(sample_rate=self.sample_rate), workers=1)
        if isinstance(clip, BadAudio):
            raise AudioFileError(path, clip.reason, clip.detail)
        if np.max(np.abs(clip.samples)) < SILENCE:
            raise UsageError(f"{shown(path)}: is silent: nothing can be started from it")
        return Heard(clip.samples, clip.file_rate)

    def make(self, wishes: Iterable[Wish], plan: Plan, reference: Reference | None = None, batch_size: int | None = None) -> Iterator[Made]:
        """The best sound for each wish, in their order, in batches of one shape.

        Raises:
          UsageError: an empty prompt, or a plan that makes no sense.
        """
        wishes = list(wishes)
        self.check(wishes, plan)
        texts = list(dict.fromkeys(text for wish in wishes for text in (wish.prompt, wish.negative)))
        vectors = dict(zip(texts, self.networks.text.embed_text(texts), strict=True))
        rows = [(wish, candidate) for wish in wishes for candidate in range(plan.candidates)]
        size = self._batch_rows(batch_size, len(rows), plan.seconds if reference is None else reference.length / self.sample_rate)
        batches = (rows[first : first + size] for first in range(0, len(rows), size))
        sounds = (sound for batch in batches for sound in self._batch(batch, size, vectors, plan, reference))
        for wish in wishes:
            made = [Made(wish, next(sounds), self.sample_rate, candidate) for candidate in range(plan.candidates)]
            yield made[0] if len(made) == 1 else self.best(made)

    def check(self, wishes: Sequence[Wish], plan: Plan) -> None:
        """Raises UsageError, before any work, for a wish or a plan that makes no sense."""
        for wish in wishes:
            if not isinstance(wish.prompt, str) or not wish.prompt.strip():
                raise UsageError("a prompt is empty: say what is to be heard, such as 'rain on a roof'")
            if not isinstance(wish.negative, str):
                raise UsageError(f"the negative prompt is {wish.negative!a:.80}; a text is needed, '' for none")
            for text in (wish.prompt, wish.negative):
                _require_utf8(text)
            if plan.guidance == 1 and wish.negative.strip():
                raise UsageError("a negative prompt has no effect at guidance 1: take a higher one")
        samples_of(plan.seconds, self.sample_rate)
        if not isinstance(plan.guidance, int | float) or not 0 <= plan.guidance < 1000:
            raise UsageError(f"guidance is {plan.guidance!a:.80}; a number from 0 up is needed")
        if type(plan.candidates) is not int or plan.candidates < 1:
            raise UsageError(f"candidates is {plan.candidates!a:.80}; a whole number from 1 up is needed")
        if plan.candidates > 1 and self.networks.ranker is None:
            raise UsageError(
                f"candidates = {plan.candidates}: {shown(self.source)} has the text half of a CLAP alone; name one that hears, such as"
                " laion/clap-htsat-unfused, as ranker: it picks the best"
            )

    def best(self, made: Sequence[Made]) -> Made:
        """The candidate that the ranking CLAP finds nearest to its prompt, the first of equals."""
        ranker = self.networks.ranker
        heard = ranker.embed_audio([one.waveform for one in made], self.sample_rate)
        scores = heard @ ranker.embed_text([made[0].wish.prompt])[0]
        first = int(np.argmax(scores))
        return replace(made[first], score=float(scores[first]))

    def sounds(
        self,
        labels: Float[np.ndarray, "b k"],
        null: Float[np.ndarray, "b k"],
        noise: Float[jax.Array, "b t f c"],
        keys: jax.Array,
        plan: Plan,
        reference: Reference | None = None,
        contexts: tuple[Context, ...] = (),
        null_contexts: tuple[Context, ...] = (),
    ) -> tuple[Float[jax.Array, "b frames mels"], Float[jax.Array, "b n"]]:
        """(log-mels, waveforms before they are cut) of embeddings and noise: the whole pipeline on all devices, b a multiple of them."""
        nets, layout = self.networks, self.networks.layout
        rows = steer(Rows(noise, keys, Condition(labels, contexts), Condition(null, null_contexts)), plan.guidance)
        if reference is not None:
            latents, kept = self._encoded(reference), reference.kept(self.geometry)
            rows = rows._replace(
                reference=np.repeat(latents, len(labels), axis=0), keep=None if kept is None else np.repeat(kept[None], len(labels), axis=0)
            )
        rows = jax.device_put(rows, layout.batch_sharding)
        weight = jnp.float32(plan.guidance)
        latents = sample_on(layout.mesh, nets.unet.module, plan.sampling, nets.unet.params, nets.schedule, rows, weight)
        mel = nets.vae.decode(latents)
        return mel, nets.vocoder(mel)

    def _encoded(self, reference: Reference) -> Float[np.ndarray, "1 t f c"]:
        sound = jax.device_put(reference.sound[None], self.networks.layout.replicated)
        return np.asarray(self.networks.vae.encode(jax.jit(log_mel, static_argnums=1)(sound, self.geometry.mel)))

    def _batch(
        self, batch: Sequence[tuple[Wish, int]], size: int, vectors: dict[str, np.ndarray], plan: Plan, reference: Reference | None
    ) -> Iterator[Float[np.ndarray, " n"]]:
        """Waveforms of (wish, candidate) rows, filled up to `size` with copies of the last."""
        filled = [*batch, *batch[-1:] * (size - len(batch))]
        geometry = self.geometry
        samples = samples_of(plan.seconds, self.sample_rate) if reference is None else reference.length
        seeds = np.array([row_seed(wish, candidate) for wish, candidate in filled], np.uint32)
        keys = jax.vmap(jax.random.key)(seeds)
        noise = initial_noise(keys, (geometry.frames(samples), geometry.bins, geometry.channels))
        labels = np.stack([vectors[wish.prompt] for wish, _ in filled])
        null = np.stack([vectors[wish.negative] for wish, _ in filled])
        told: Mapping[str, tuple[Context, ...]] = {}
        if retrieval := self.networks.retrieval:
            told = {"contexts": retrieval.contexts([wish for wish, _ in filled], labels), "null_contexts": retrieval.null(size)}
        _, waveforms = self.sounds(labels, null, noise, keys, plan, reference, **told)
        for waveform in np.asarray(waveforms)[: len(batch), :samples]:
            yield waveform if reference is None else with_kept(waveform, reference, self.sample_rate)

    def _batch_rows(self, batch_size: int | None, rows: int, seconds: float) -> int:
        if batch_size is not None and (type(batch_size) is not int or batch_size < 1):
            raise UsageError(f"batch_size is {batch_size!a:.80}; a whole number from 1 up is needed")
        devices = self.networks.layout.mesh.size
        usual = max(1, min(MAKE_BATCH, int(MAKE_SECONDS / seconds)))
        wanted = min(batch_size or usual, 1 << max(0, rows - 1).bit_length())  # a single sound does not cost a full batch
        return -(-wanted // devices) * devices


def row_seed(wish: Wish, candidate: int) -> int:
    """The 32-bit number that decides what is drawn: from the prompt too, so that the sounds of a file do not share their noise."""
    text = f"{wish.seed}/{candidate}/{wish.prompt}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big")


def _require_utf8(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:  # bytes that a terminal sent and Python could not read
        raise UsageError(f"the prompt {text!a:.80} is not UTF-8 text: type it again in a terminal that sends UTF-8") from error


def _mono(waveform: Float[np.ndarray, " n"], sample_rate: int, to_rate: int) -> Float[np.ndarray, " n"]:
    """A waveform at another rate. UsageError for one of several channels, or as `clips_at`."""
    if np.ndim(waveform) != 1:
        raise UsageError(f"audio has the shape {list(np.shape(waveform))}: one axis of samples is needed, mono")
    return next(clips_at(waveform, sample_rate, to_rate))
