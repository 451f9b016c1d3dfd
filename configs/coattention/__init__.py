"""Co-attention retrieval: SoundWorld, Clotho, AudioCaps."""
