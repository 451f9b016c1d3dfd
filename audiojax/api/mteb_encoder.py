"""A finder as an encoder of MTEB, whose audio retrieval tasks measure it then beside the models of its leaderboard (extra "mteb").

    import mteb
    from audiojax.api.mteb_encoder import MtebEncoder

    model = MtebEncoder("runs/diffatr", "me/diffatr-base")
    results = mteb.evaluate(model, mteb.get_tasks(tasks=["ClothoT2ARetrieval.v2"]))

MTEB gives every sound and every text one vector and ranks by cosine. So a DiffATR is measured by its towers alone, without the diffusion
that re-ranks: `audiojax evaluate` measures both.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from audiojax.api.finding.search import Searcher
from audiojax.api.finding.sound_vectors import sound_vectors, unit
from audiojax.api.loading import load_finder
from audiojax.errors import UsageError
from audiojax.text.normalise import clean_caption

MODALITIES = {"text", "audio"}


class MtebEncoder:
    """What `mteb.evaluate` takes: texts and sounds to unit vectors, and what MTEB keeps of a model.

    Attributes:
      finder: the model.
      mteb_model_meta: its name, and as revision a hash of its weights, so that kept results are never those of another model.
    """

    def __init__(self, model: str | os.PathLike | Searcher, name: str = "audiojax/finder"):
        """Opens a model that searches.

        Args:
          model: a run, an exported folder or a public CLAP, as `load_finder` takes it; or what that returned.
          name: "owner/model", under which MTEB keeps the results.

        Raises:
          UsageError: as `load_finder`, a name of another form, or MTEB is not installed.
        """
        try:
            from mteb.models import ModelMeta
        except ModuleNotFoundError as error:
            raise UsageError(f"MTEB cannot be imported ({error.name} is missing): pip install 'audiojax[mteb]'") from error
        if name.count("/") != 1 or not all(name.split("/")):
            raise UsageError(f"the name {name!r} is no 'owner/model'")
        self.finder = model if isinstance(model, Searcher) else load_finder(model)
        self.width = self.finder.embed_text(["a sound"]).shape[1]
        self.mteb_model_meta = ModelMeta(
            loader=None,
            name=name,
            revision=self.finder.model_id,
            embed_dim=self.width,
            modalities=sorted(MODALITIES),
            framework=["JAX"],
            similarity_fn_name="cosine",
            languages=["eng-Latn"],
            **dict.fromkeys(UNSAID),
        )

    def encode(self, inputs: Any, *, task_metadata: Any, **options: Any) -> Float[np.ndarray, "n d"]:
        """Unit vectors of the rows of a loader, sounds or texts; a text without words has zeros, which are near nothing.

        Args:
          inputs: torch's DataLoader of batches {"text": [...]} or {"audio": [{"array": ..., "sampling_rate": ...}, ...]}.
          task_metadata: of MTEB's task, for its name.
          options: which other models need: prompts, batch sizes.

        Raises:
          UsageError: rows that are neither sounds nor texts, or both; a sound that cannot be used (see `clips_at`).
        """
        inputs.collate_fn = columns
        found = []
        for batch in inputs:
            kinds = batch.keys() & (MODALITIES | {"image", "video"})
            if kinds == {"audio"}:
                found.append(self.audio_vectors(batch["audio"]))
            elif kinds == {"text"}:
                found.append(self.text_vectors(batch["text"]))
            else:
                given = " and ".join(sorted(kinds)) or "nothing"
                raise UsageError(f"{task_metadata.name}: its rows hold {given}, and this model takes either text or audio")
        return np.concatenate(found) if found else np.zeros((0, self.width), np.float32)

    def text_vectors(self, texts: Sequence[str]) -> Float[np.ndarray, "n d"]:
        """Unit vectors of texts."""
        said = [i for i, text in enumerate(texts) if any(character.isalnum() for character in clean_caption(text))]
        vectors = np.zeros((len(texts), self.width), np.float32)
        if said:
            vectors[said] = unit(self.finder.embed_text([texts[i] for i in said]))
        return vectors

    def audio_vectors(self, sounds: Iterable[Mapping[str, Any]]) -> Float[np.ndarray, "n d"]:
        """Unit vectors of sounds of any length and rate; a long one is the mean of its windows, side by side."""
        heard = ((np.asarray(sound["array"], np.float32), int(sound["sampling_rate"])) for sound in sounds)
        mono = ((samples.mean(axis=0) if samples.ndim == 2 else samples, rate) for samples, rate in heard)  # of [channels, n]
        return np.stack(list(sound_vectors(self.finder, mono)))

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Cosines of all pairs."""
        from mteb.similarity_functions import cos_sim

        return cos_sim(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Cosines of the rows, each with its counterpart."""
        from mteb.similarity_functions import pairwise_cos_sim

        return pairwise_cos_sim(embeddings1, embeddings2)


UNSAID = (  # of a model's metadata: what is not known of a run
    *("release_date", "n_parameters", "memory_usage_mb", "max_tokens", "license", "open_weights"),
    *("public_training_code", "public_training_data", "use_instructions", "training_datasets"),
)


def columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The rows of a batch as lists: sounds have different lengths."""
    return {key: [row[key] for row in rows] for key in rows[0]}
