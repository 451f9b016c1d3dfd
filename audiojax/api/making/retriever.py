"""What a finished run of latent diffusion retrieves for the sounds that are wished for, as contexts of its U-Net."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from audiojax.api.making.datastore import Datastore, classes_of
from audiojax.api.making.wishes import Wish
from audiojax.models.unet import Context
from audiojax.papers.re_audioldm.conditioning import condition_of, null_condition
from audiojax.papers.re_audioldm.diffusion_settings import DiffusionSettings
from audiojax.papers.re_audioldm.retrieval import BY_TRUTH, PairsTransform, Queries, RetrievalOptions, find_neighbours


@dataclass(frozen=True, eq=False)
class Retriever:
    """Contexts of wishes: the features of their neighbours in a datastore; see `audiojax.api.making.Retrieval`.

    Attributes:
      settings, model_state: of the run.
      transform: makes the features of pairs.
      datastore: None where nothing is retrieved.
      truth: id of a clip -> which of SoundWorld's classes sound in it, for the controls that ask; a wish that is of no such clip has the
        neighbours that CLAP finds.
    """

    settings: DiffusionSettings
    model_state: Any
    transform: PairsTransform
    datastore: Datastore | None
    truth: Mapping[str, Bool[np.ndarray, " classes"]] = field(default_factory=dict)

    @property
    def options(self) -> RetrievalOptions:
        """What is retrieved."""
        return self.transform.options

    @property
    def facts(self) -> str:
        """The options and the features that are retrieved from, and whether the truth is known."""
        return repr((self.options, self.datastore and self.datastore.name, bool(self.truth)))

    @cached_property
    def classes(self) -> Bool[np.ndarray, "n classes"]:
        """Which of SoundWorld's classes sound in the clips of the datastore. UsageError where that is not known."""
        records = () if self.datastore is None else self.datastore.records
        return classes_of(records, range(len(records)))

    def neighbours(self, wishes: Sequence[Wish], vectors: Float[np.ndarray, "b d"]) -> Int[np.ndarray, "b k 2"]:
        """(clip, caption) in the datastore of what is retrieved for each wish, best first; NONE where there is no more, k = 0 without a
        datastore.

        Args:
          vectors: embeddings of the prompts.
        """
        if self.datastore is None:
            return np.zeros((len(wishes), 0, 2), np.int32)
        options = replace(self.options, depth=self.options.count)
        ids = self.datastore.names([wish.clip for wish in wishes])
        draws = np.array([own or wish.prompt for own, wish in zip(ids, wishes, strict=True)])
        asked = Queries(vectors, np.array(ids), np.zeros(len(wishes), int), draws=draws)
        if options.mode not in BY_TRUTH:
            return find_neighbours(options, self.datastore.keys, asked)
        if all(wish.clip in self.truth for wish in wishes):
            asked = asked._replace(classes=np.stack([self.truth[wish.clip] for wish in wishes]))
            return find_neighbours(options, self.datastore.keys, asked, self.classes)
        return find_neighbours(replace(options, mode="clap"), self.datastore.keys, asked)

    def contexts(self, wishes: Sequence[Wish], vectors: Float[np.ndarray, "b d"]) -> tuple[Context, ...]:
        """(tokens, mask) for each context of the U-Net."""
        rows = [self.transform.features(row) for row in self.neighbours(wishes, vectors)]
        batch = {name: np.stack([row[name] for row in rows]) for name in rows[0]} | {"text_embedding": vectors}
        return jax.device_get(condition_of(self.settings, self.model_state, batch, "text").contexts)

    def null(self, rows: int) -> tuple[Context, ...]:
        """The contexts of no condition."""
        vectors = np.zeros((rows, self.settings.clap_text.config.projection), np.float32)
        batch = {"retrieved_valid": np.zeros((rows, self.options.pairs), bool), "text_embedding": vectors}
        condition = condition_of(self.settings, self.model_state, batch, "text")
        return jax.device_get(null_condition(self.settings, self.model_state, condition).contexts)
