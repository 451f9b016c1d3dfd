"""Diffusion-Link: SoundWorld, AudioCaps."""
