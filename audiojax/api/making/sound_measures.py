"""The measures of generated sounds, as rows of a table, from the features of two sets of sounds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from audiojax.api.finding.clap_search import ClapFinder
from audiojax.api.finding.sound_vectors import sound_vectors
from audiojax.api.making.sound_backbone import Features
from audiojax.api.making.sound_sets import Heard, SoundSet, first_of, listed
from audiojax.audio.reasons import AudioFileError, BadAudio, ReasonCounter
from audiojax.errors import UsageError
from audiojax.metrics.bootstrap import Interval, mean_interval
from audiojax.metrics.generation.frechet import frechet_distance, moments, split_half_distances
from audiojax.metrics.generation.kernel import kernel_interval
from audiojax.metrics.generation.likeness import clap_scores, mismatched_clap_scores
from audiojax.metrics.generation.logits import SPLITS, Activation, divergences, inception_score, mismatched_divergences
from audiojax.progress import counting_bar
from audiojax.report.sections import Metric

LEAST = 2  # sounds of a covariance
ACTIVATIONS: tuple[Activation, ...] = ("softmax", "sigmoid")
DISTANCE = {"percent": False, "lower_is_better": True}


@dataclass(frozen=True, eq=False)
class Measured:
    """A set of sounds and its features."""

    sounds: SoundSet
    features: Features

    def rows(self, ids: Sequence[str]) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n c"]]:
        """(embeddings, logits) of some sounds, in their order."""
        places = {own: i for i, own in enumerate(self.features.ids)}
        chosen = [places[own] for own in ids]
        return self.features.embeddings[chosen], self.features.logits[chosen]

    def read(self, ids: Sequence[str]) -> Iterator[Heard]:
        """Some of the sounds that could be used, once more. AudioFileError where one no longer can."""
        for heard in self.sounds.read(ids):
            if isinstance(heard, BadAudio):
                raise AudioFileError(heard.path, heard.reason, heard.detail)
            yield heard

    def remarks(self) -> list[str]:
        """What was left out or is silent, in words."""
        counter = ReasonCounter(used=len(self.features.ids))
        for bad in (*self.sounds.unread, *self.features.bad):
            counter.add(bad)
        named = [bad.path for group in counter.bad.values() for bad in group]
        said = [f"{self.sounds.name}: {counter.summary()} ({first_of(named)})"] * bool(named)
        return said + [f"{self.sounds.name}: silent are {listed(self.features.silent)}"] * bool(self.features.silent)


@dataclass(frozen=True, eq=False)
class Compared:
    """Generated sounds beside real ones.

    Attributes:
      made: the generated sounds.
      real: the others.
      paired: whether a sound belongs to that of the other set with its id.
    """

    made: Measured
    real: Measured
    paired: bool

    @property
    def ids(self) -> list[str]:
        """Of the pairs, both of which could be used; without pairs, of the generated sounds that could."""
        if not self.paired:
            return list(self.made.features.ids)
        return sorted(set(self.made.features.ids) & set(self.real.features.ids))

    def clouds(self) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "m d"]]:
        """The embeddings of both sets, row by row where there are pairs."""
        if not self.paired:
            return self.made.features.embeddings, self.real.features.embeddings
        return self.made.rows(self.ids)[0], self.real.rows(self.ids)[0]

    def require_enough(self) -> None:
        """UsageError where too few sounds could be used for any distance."""
        width = self.made.features.embeddings.shape[1]
        for one in (self.made, self.real):
            count = len(self.ids) if self.paired else len(one.features.ids)
            if count < LEAST:
                why = "; ".join([*self.made.remarks(), *self.real.remarks()])
                raise UsageError(
                    f"{one.sounds.name}: {count} sounds can be used; a covariance takes {LEAST}, and one of full rank {width + 1} with"
                    f" this backbone\n{why}".rstrip()
                )

    def rank_remark(self) -> list[str]:
        """What is to be said where a covariance cannot have full rank."""
        clouds = [one.features.embeddings for one in (self.made, self.real)]
        width = clouds[0].shape[1]
        if min(map(len, clouds)) > width:
            return []
        sizes, ranks = (" and ".join(map(str, numbers)) for numbers in (map(len, clouds), (moments(rows).rank for rows in clouds)))
        return [
            f"few sounds for {width} features: the covariances of {sizes} have rank {ranks}, and full rank takes {width + 1} or more; "
            "such a Frechet distance is too large, and compares only with sets of that size"
        ]


def distance_metrics(compared: Compared) -> list[Metric]:
    """Frechet distance of clips, of halves and of frames, and KID."""
    made, real = compared.made.features, compared.real.features
    rows = compared.clouds()
    found = [Metric("Frechet distance", frechet_distance(moments(made.embeddings), moments(real.embeddings)), **DISTANCE)]
    if min(len(rows[1]) // 2, len(rows[0])) >= LEAST:
        halves, ceiling = split_half_distances(*rows, paired=compared.paired)
        bounds = (float(value) for value in (halves.mean(), halves.min(), halves.max()))
        found.append(Metric("Frechet distance, halves", *bounds, ceiling=float(ceiling.mean()), **DISTANCE))
    if min(made.frames.count, real.frames.count) >= LEAST:
        found.append(Metric("FAD of this backbone's frames", frechet_distance(made.frames, real.frames), **DISTANCE))
    return [*found, _row("KID", kernel_interval(*rows, paired=compared.paired), ceiling=0.0, **DISTANCE)]


def tag_metrics(compared: Compared) -> tuple[list[Metric], dict[str, list[float]]]:
    """KL of pairs, and the Inception score where there are clips enough for its splits; with the values of each pair."""
    found, each = [], {}
    if compared.paired:
        (_, made), (_, real) = compared.made.rows(compared.ids), compared.real.rows(compared.ids)
        for name in ACTIVATIONS:
            values = divergences(made, real, name)
            limits = {"chance": mismatched_divergences(made, real, name), "ceiling": divergences(real, real, name)}
            limits = {limit: float(numbers.mean()) for limit, numbers in limits.items()}
            found.append(_row(f"KL ({name})", mean_interval(values), **limits, **DISTANCE))
            each[f"kl_{name}"] = values.tolist()
    sets = [one.features.logits for one in (compared.made, compared.real)]
    if min(map(len, sets)) >= SPLITS:
        (score, deviation), (ceiling, _) = map(inception_score, sets)
        found.append(Metric("Inception score", score, ceiling=ceiling, percent=False))
        found.append(Metric(f"Inception score, deviation of {SPLITS} splits", deviation, percent=False))
    return found, each


def silence_metric(compared: Compared) -> tuple[Metric, list[float]]:
    """The share of silent sounds, and 1 for every id whose generated sound is."""
    shares = [len(one.features.silent) / len(one.features.ids) for one in (compared.made, compared.real)]
    silent = set(compared.made.features.silent)
    return Metric("silent sounds", shares[0], ceiling=shares[1], lower_is_better=True), [float(own in silent) for own in compared.ids]


def clap_metric(compared: Compared, finder: ClapFinder, prompts: Mapping[str, str], progress: bool) -> tuple[Metric, list[float]]:
    """The CLAP score of the generated sounds, beside that of the real ones where there are pairs; with the values of each.

    Raises:
      UsageError: a sound without a caption.
    """
    ids = compared.ids
    missing = [own for own in ids if own not in prompts]
    if missing:
        raise UsageError(f"no caption is known of {listed(missing)} of {len(ids)} sounds")
    texts = finder.tower.embed_text([prompts[own] for own in ids])
    sets = {"CLAP": compared.made} | ({"CLAP, real": compared.real} if compared.paired else {})
    with counting_bar("sounds", progress) as bar:
        vectors = [
            np.stack(list(bar.track(sound_vectors(finder, one.read(ids)), len(ids), description=title))) for title, one in sets.items()
        ]
    values, *real = (clap_scores(rows, texts) for rows in vectors)
    limits = {"chance": float(mismatched_clap_scores(vectors[0], texts).mean()), "ceiling": float(real[0].mean()) if real else None}
    return _row("CLAP score", mean_interval(values), **limits), values.tolist()


def _row(name: str, interval: Interval, **facts) -> Metric:
    return Metric(name, interval.estimate, interval.low, interval.high, **facts)
