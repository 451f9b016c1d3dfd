"""Moving embeddings of sounds to where texts are."""
