"""Re-AudioLDM: SoundWorld, AudioCaps."""
