"""Making sounds: makers, what they retrieve, files of what they made, and the scores of sounds."""
