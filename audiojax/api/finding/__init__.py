"""Finding sounds by words and words by sounds: finders, their scores, and indexes opened by them."""
