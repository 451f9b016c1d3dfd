"""Diffusion audio captioning: SoundWorld, AudioCaps, Clotho."""
