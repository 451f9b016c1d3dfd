"""Log-mel spectrograms on the device, inside the encoder's jit: one function, and one frozen config per published convention.

Spectrogram settings belong to the model that was trained on them, so every encoder names its `MelConfig`. Frame counts follow from the
padding:

| padding | what it does | frames of n samples |
|---|---|---|
| center | reflects n_fft // 2 samples at each end (librosa, PANNs, CLAP) | n // hop + 1 |
| same | reflects (n_fft - hop) // 2 at each end, n_fft - hop even (AudioLDM training) | n // hop |
| snip | no padding; a frame lies wholly inside the clip (Kaldi) | 1 + (n - win_length) // hop |
"""

import dataclasses
import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

EXACT = lax.Precision.HIGHEST  # a spectrum spans more decades than bfloat16 or TF32 products keep


@dataclasses.dataclass(frozen=True)
class MelConfig:
    """One log-mel convention. Lengths are in samples, frequencies in Hz.

    Attributes:
      sample_rate: rate that the waveform must have.
      n_fft: length of the transform; frames of `win_length` samples are zero-padded to it (centred for hann, at the end for Kaldi windows).
      win_length: length of a frame's window.
      hop: samples between two frames.
      n_mels: number of mel bands.
      f_min: lower edge of the first band.
      f_max: upper edge of the last band.
      filter_bank: "slaney" (Slaney scale, area norm), "htk" (HTK scale, peak 1) or "kaldi" (HTK scale, triangles linear in mel).
      window: "hann" (periodic), "hanning" (symmetric Hann) or "povey" (symmetric Hann to the power 0.85).
      padding: "center", "same" or "snip"; see the module.
      power: 2 for power spectra, 1 for magnitudes.
      log: "db" (10 log10) or "ln".
      floor: mel energies below it are raised to it before the logarithm.
      scale: the waveform in [-1, 1] is multiplied by it first.
      int16_round_trip: cut the waveform to 16 bits and back, as the laion_clap package does.
      subtract_mean: take the clip's mean off first.
      pre_emphasis: coefficient of x[i] - c x[i - 1] within a frame, 0 for none; with it goes the removal of each frame's mean.
      frames: cut or zero-pad the log-mel to this many frames, before normalisation; None keeps what the clip gives.
      mean: subtracted from the log-mel.
      std: divides the log-mel after that.
    """

    sample_rate: int
    n_fft: int
    win_length: int
    hop: int
    n_mels: int
    f_min: float
    f_max: float
    filter_bank: Literal["slaney", "htk", "kaldi"] = "slaney"
    window: Literal["hann", "hanning", "povey"] = "hann"
    padding: Literal["center", "same", "snip"] = "center"
    power: int = 2
    log: Literal["db", "ln"] = "db"
    floor: float = 1e-10
    scale: float = 1.0
    int16_round_trip: bool = False
    subtract_mean: bool = False
    pre_emphasis: float = 0.0
    frames: int | None = None
    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self):
        if not 0 <= self.f_min < self.f_max <= self.sample_rate / 2:
            raise ValueError(f"mel bands need 0 <= f_min < f_max <= {self.sample_rate / 2:g} Hz, got {self.f_min:g} and {self.f_max:g}")
        if self.win_length > self.n_fft:
            raise ValueError(f"win_length {self.win_length} is longer than n_fft {self.n_fft}")
        if self.padding == "same" and (self.n_fft - self.hop) % 2:
            raise ValueError(f"padding 'same' needs n_fft - hop even, got {self.n_fft} - {self.hop}")
        if self.power not in (1, 2):
            raise ValueError(f"power must be 1 or 2, got {self.power}")

    def frame_count(self, samples: int) -> int:
        """Frames that a clip of `samples` gives before `frames` cuts or pads it.

        Raises:
          ValueError: the clip is too short for one frame, or for reflect padding.
        """
        pad = self.pad_samples
        if samples < self.win_length and self.padding == "snip":
            raise ValueError(f"a clip of {samples} samples is shorter than one frame of {self.win_length}; pad it first")
        if samples <= pad:
            raise ValueError(f"a clip of {samples} samples is too short to reflect {pad} at each end; pad it first")
        frame = self.win_length if self.padding == "snip" else self.n_fft
        return 1 + (samples + 2 * pad - frame) // self.hop

    @property
    def pad_samples(self) -> int:
        """Samples reflected at each end of the clip."""
        return {"center": self.n_fft // 2, "same": (self.n_fft - self.hop) // 2, "snip": 0}[self.padding]


# PANNs (Kong et al. 2020; torchlibrosa and audioset_tagging_cnn code): power in dB, bands of librosa's default kind.
PANNS_32K = MelConfig(sample_rate=32_000, n_fft=1024, win_length=1024, hop=320, n_mels=64, f_min=50, f_max=14_000)
PANNS_16K = MelConfig(sample_rate=16_000, n_fft=512, win_length=512, hop=160, n_mels=64, f_min=50, f_max=8_000)

# CLAP (laion preprocessor configs): "rand_trunc" of the unfused and larger checkpoints, "fusion" of the fused one.
CLAP_48K = MelConfig(sample_rate=48_000, n_fft=1024, win_length=1024, hop=480, n_mels=64, f_min=50, f_max=14_000)
CLAP_48K_FUSED = dataclasses.replace(CLAP_48K, filter_bank="htk")

_KALDI = MelConfig(
    sample_rate=16_000,
    n_fft=512,
    win_length=400,
    hop=160,
    n_mels=128,
    f_min=20,
    f_max=8_000,
    filter_bank="kaldi",
    window="povey",
    padding="snip",
    log="ln",
    floor=float(np.finfo(np.float32).eps),
    pre_emphasis=0.97,
)
# AudioMAE code (dataset.py): 10.24 s give 1022 frames, zero-padded to 1024 before normalisation.
AUDIOMAE = dataclasses.replace(_KALDI, window="hanning", subtract_mean=True, frames=1024, mean=-4.2677393, std=2 * 4.5689974)
# BEATs code (BEATs.py): sample values as 16-bit integers have them; 10 s give 998 frames.
BEATS = dataclasses.replace(_KALDI, scale=float(2**15), mean=15.41663, std=2 * 6.55582)

# AudioLDM training code (dataset.py): natural log of mel magnitudes; 163,840 samples give 1024 frames.
AUDIOLDM_16K = MelConfig(
    sample_rate=16_000, n_fft=1024, win_length=1024, hop=160, n_mels=64, f_min=0, f_max=8_000, padding="same", power=1, log="ln", floor=1e-5
)

# SoundWorld clips of 61,440 samples give 384 frames; bands of the 16 kHz PANNs. Our choice.
SOUNDWORLD_16K = dataclasses.replace(PANNS_16K, padding="same")

PRESETS = {
    "panns_32k": PANNS_32K,
    "panns_16k": PANNS_16K,
    "clap_48k": CLAP_48K,
    "clap_48k_fused": CLAP_48K_FUSED,
    "audiomae": AUDIOMAE,
    "beats": BEATS,
    "audioldm_16k": AUDIOLDM_16K,
    "soundworld_16k": SOUNDWORLD_16K,
}


def log_mel(waveform: Float[Array, "b n"], config: MelConfig) -> Float[Array, "b frames mels"]:
    """Log-mel spectrogram in float32 under `config`, in the form that is fastest on the platform it is lowered for.

    CPU goes clip by clip through the FFT (the frames of one clip stay in cache), TPU takes the DFT as a matrix product, anything else the
    FFT of the whole batch. The forms agree to float32 rounding.

    Args:
      waveform: clips at `config.sample_rate`, in [-1, 1], all of one length.
      config: the convention; static under jit.

    Raises:
      ValueError: the clips are too short for one frame, or for reflect padding.
    """
    config.frame_count(waveform.shape[-1])
    waveform = waveform.astype(jnp.float32)
    mel = lax.platform_dependent(
        waveform,
        cpu=lambda x: lax.map(functools.partial(_clip_log_mel, config=config, spectrum=_power_by_fft), x),
        tpu=lambda x: jax.vmap(functools.partial(_clip_log_mel, config=config, spectrum=_power_by_matmul))(x),
        default=lambda x: jax.vmap(functools.partial(_clip_log_mel, config=config, spectrum=_power_by_fft))(x),
    )
    if config.frames is not None:
        mel = mel[:, : config.frames]
        mel = jnp.pad(mel, ((0, 0), (0, config.frames - mel.shape[1]), (0, 0)))
    return (mel - config.mean) / config.std


def _clip_log_mel(clip: Float[Array, " n"], *, config: MelConfig, spectrum) -> Float[Array, "frames mels"]:
    if config.int16_round_trip:
        clip = jnp.trunc(jnp.clip(clip, -1.0, 1.0) * 32767.0) / 32767.0
    clip = clip * config.scale
    if config.subtract_mean:
        clip = clip - jnp.mean(clip)
    power = spectrum(overlapping_frames(clip, config), config)  # [frames, bins]
    if config.power == 1:
        silent = power <= 0  # the root's gradient at zero is infinite: keep it out of both branches
        power = jnp.where(silent, 0.0, jnp.sqrt(jnp.where(silent, 1.0, power)))
    mel = jnp.dot(power, filter_bank(config), precision=EXACT)  # [frames, mels]
    mel = jnp.log(jnp.maximum(mel, config.floor))
    return mel * (10 / np.log(10)) if config.log == "db" else mel


def overlapping_frames(clip: Float[Array, " n"], config: MelConfig) -> Float[Array, "frames window"]:
    """Overlapping frames, not yet windowed: n_fft samples wide, or win_length with Kaldi's snipped edges."""
    count = config.frame_count(clip.shape[0])
    width = config.win_length if config.padding == "snip" else config.n_fft
    if config.pad_samples:
        clip = jnp.pad(clip, config.pad_samples, mode="reflect")
    frames = clip[np.arange(count)[:, None] * config.hop + np.arange(width)[None, :]]  # [frames, width]
    if config.pre_emphasis:
        frames = frames - jnp.mean(frames, axis=1, keepdims=True)
        before = jnp.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
        frames = frames - config.pre_emphasis * before
    return frames


def _power_by_fft(frames: Float[Array, "frames window"], config: MelConfig) -> Float[Array, "frames bins"]:
    windowed = frames * analysis_window(config)[None, :]
    bins = jnp.fft.rfft(windowed, n=config.n_fft, axis=1)  # zero-padded at the end
    return jnp.square(bins.real) + jnp.square(bins.imag)


def _power_by_matmul(frames: Float[Array, "frames window"], config: MelConfig) -> Float[Array, "frames bins"]:
    cosine, sine = _dft_matrices(config)
    return jnp.square(jnp.dot(frames, cosine, precision=EXACT)) + jnp.square(jnp.dot(frames, sine, precision=EXACT))


@functools.cache
def analysis_window(config: MelConfig) -> Float[np.ndarray, " window"]:
    """The window that multiplies a frame: [n_fft] with `win_length` samples in the middle, [win_length] under snipped edges."""
    length = config.win_length
    period = length if config.window == "hann" else length - 1
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / period)
    if config.window == "povey":
        window = window**0.85
    if config.padding != "snip":
        left = (config.n_fft - length) // 2
        window = np.pad(window, (left, config.n_fft - length - left))
    return window.astype(np.float32)


@functools.cache
def _dft_matrices(config: MelConfig) -> tuple[Float[np.ndarray, "window bins"], Float[np.ndarray, "window bins"]]:
    window = analysis_window(config).astype(np.float64)[:, None]
    turn = np.outer(np.arange(len(window)), np.arange(config.n_fft // 2 + 1)) % config.n_fft
    angle = 2 * np.pi * turn / config.n_fft
    return (window * np.cos(angle)).astype(np.float32), (window * np.sin(angle)).astype(np.float32)


@functools.cache
def filter_bank(config: MelConfig) -> Float[np.ndarray, "bins mels"]:
    """Weights that turn a spectrum of n_fft // 2 + 1 bins into mel bands; a NumPy constant.

    "slaney" and "htk" are librosa's. "kaldi" (mel-computations.cc) has triangles that are straight lines in mel = 1127 ln(1 + f / 700),
    not in Hz, and gives the Nyquist bin no weight.
    """
    if config.filter_bank == "kaldi":
        return _kaldi_bank(config).astype(np.float32)
    import librosa  # loads SciPy and Numba: not when this module is imported

    htk = config.filter_bank == "htk"
    bank = librosa.filters.mel(
        sr=config.sample_rate,
        n_fft=config.n_fft,
        n_mels=config.n_mels,
        fmin=config.f_min,
        fmax=config.f_max,
        htk=htk,
        norm=None if htk else "slaney",
        dtype=np.float64,
    )
    return bank.T.astype(np.float32)


def _kaldi_bank(config: MelConfig) -> Float[np.ndarray, "bins mels"]:
    def to_mel(hertz):
        return 1127.0 * np.log1p(np.asarray(hertz, np.float64) / 700.0)

    edges = np.linspace(to_mel(config.f_min), to_mel(config.f_max), config.n_mels + 2)  # band m spans edges m .. m + 2
    left, center, right = edges[None, :-2], edges[None, 1:-1], edges[None, 2:]
    bins = to_mel(np.arange(config.n_fft // 2) * config.sample_rate / config.n_fft)[:, None]
    triangle = np.minimum((bins - left) / (center - left), (right - bins) / (right - center))
    return np.pad(np.maximum(triangle, 0.0), ((0, 1), (0, 0)))
