"""The 52 sound classes: how each is made, how long it lasts, which attributes are heard on it, and how often it is met.

Kinds. `single`: one countable sound of `unit` s, repeated every `spacing` s when it comes twice or three times. `train`: a series of hits
whose speed is the attribute `rate`. `sustained`: goes on for as long as it is told; its length is the attribute `duration`.
Tiers (frequency in `train`): 12 head, 22 middle, 10 tail, 8 unseen (only in `pretrain`, `test` and the datastore).
"""

from dataclasses import dataclass, field

from audiojax.data.soundworld.families import impact, motor, noise, struck, tone, voice

HEAD, MIDDLE, TAIL, UNSEEN = "head", "middle", "tail", "unseen"

VALUES = {  # attribute -> its two marked values; an event without the attribute sits halfway between
    "pitch": ("low", "high"),
    "rate": ("slow", "fast"),
    "duration": ("short", "long"),
    "brightness": ("dull", "bright"),
    "distance": ("near", "far"),
    "loudness": ("quiet", "loud"),
}
LETTERS = {"P": "pitch", "R": "rate", "D": "duration", "B": "brightness", "F": "distance"}


@dataclass(frozen=True)
class SoundClass:
    """One class: `make` is its family function, `params` go to it, `attributes` are those that may be marked on it."""

    name: str
    tier: str
    kind: str
    attributes: tuple[str, ...]
    make: object
    params: dict = field(default_factory=dict)
    unit: float = 0.0
    spacing: float = 0.0


def _single(name, tier, letters, unit, spacing, make, **params):
    return SoundClass(name, tier, "single", tuple(LETTERS[c] for c in letters), make, params, unit, spacing)


def _train(name, tier, letters, make, **params):
    return SoundClass(name, tier, "train", tuple(LETTERS[c] for c in letters), make, params)


def _sustained(name, tier, letters, make, **params):
    return SoundClass(name, tier, "sustained", tuple(LETTERS[c] for c in letters), make, params)


OWL = ((0.0, 0.2, 1.0), (0.3, 0.12, 1.0), (0.5, 0.48, 0.92))
CUCKOO = ((0.0, 0.4, 1.25), (0.5, 0.5, 1.0))

CLASSES = (
    _single("dog_bark", HEAD, "PF", 0.38, 0.46, voice.bark),
    _train("bird_chirp", HEAD, "PRF", tone.chirps),
    _sustained("rain", HEAD, "DBF", noise.rain),
    _train("footsteps", HEAD, "RBF", impact.footsteps),
    _sustained("siren", HEAD, "PDF", tone.siren),
    _sustained("car_engine", HEAD, "PDF", motor.engine),
    _single("church_bell", HEAD, "PBF", 1.1, 0.75, struck.strike, frequency=330.0, ratios=struck.BELL, ring=1.0),
    _train("clock_tick", HEAD, "RF", impact.ticks),
    _train("speech", HEAD, "PRF", voice.speech),
    _single("car_horn", HEAD, "PF", 0.4, 0.52, tone.horn, frequencies=(400.0, 500.0), slope=0.5),
    _sustained("wind", HEAD, "DF", noise.wind),
    _sustained("phone_ring", HEAD, "PDF", struck.telephone),
    _single("cat_meow", MIDDLE, "PF", 0.7, 0.78, voice.meow),
    _sustained("thunder", MIDDLE, "DF", noise.thunder),
    _train("helicopter", MIDDLE, "RF", motor.helicopter),
    _train("hand_clap", MIDDLE, "RBF", impact.claps),
    _single("guitar_pluck", MIDDLE, "PBF", 0.75, 0.62, struck.pluck, frequency=196.0),
    _train("knock", MIDDLE, "RF", impact.knocks, modes=(240.0, 410.0, 690.0), ring=0.022, rate_hz=3.8),
    _train("water_drip", MIDDLE, "PRF", impact.drips),
    _sustained("baby_cry", MIDDLE, "PDF", voice.cry),
    _train("crickets", MIDDLE, "RF", tone.crickets),
    _train("hammer", MIDDLE, "PRF", impact.knocks, modes=(1850.0, 2930.0, 4310.0, 6100.0), ring=0.075, rate_hz=2.8, click=0.5),
    _sustained("waves", MIDDLE, "DBF", noise.waves),
    _sustained("ship_horn", MIDDLE, "PDF", tone.horn, frequencies=(110.0, 138.6, 164.8), slope=1.5, breath=0.15, swell=0.3),
    _train("alarm_beep", MIDDLE, "PRF", tone.beeps),
    _sustained("drill", MIDDLE, "PDF", motor.drill),
    _train("frog", MIDDLE, "PRF", voice.croak),
    _sustained("fire", MIDDLE, "DBF", noise.fire),
    _sustained("flute", MIDDLE, "PDF", tone.flute),
    _train("horse", MIDDLE, "RF", impact.gallop),
    _single("owl", MIDDLE, "PF", 0.85, 0.95, tone.calls, frequency=380.0, notes=OWL),
    _single("glass", MIDDLE, "PF", 0.5, 0.5, struck.strike, frequency=2300.0, ratios=struck.GLASS, ring=0.16, knock=0.15),
    _train("typing", MIDDLE, "RF", impact.typing),
    _single("gunshot", MIDDLE, "BF", 0.42, 0.5, noise.shot),
    _sustained("cow", TAIL, "PDF", voice.moo),
    _sustained("sheep", TAIL, "PDF", voice.bleat),
    _sustained("bubbling", TAIL, "PDF", noise.bubbling),
    _single("gong", TAIL, "PBF", 1.2, 0.85, struck.gong),
    _train("saw", TAIL, "RBF", noise.saw),
    _single("rooster", TAIL, "PF", 1.05, 1.15, voice.crow),
    _train("steam_train", TAIL, "RBF", noise.steam),
    _sustained("chainsaw", TAIL, "PDF", motor.chainsaw),
    _sustained("door_creak", TAIL, "PDF", motor.creak),
    _sustained("violin", TAIL, "PDF", tone.violin),
    _single("cuckoo", UNSEEN, "PF", 0.7, 0.82, tone.calls, frequency=640.0, notes=CUCKOO, breath=0.02),
    _sustained("motorcycle", UNSEEN, "PDF", motor.motorcycle),
    _train("xylophone", UNSEEN, "PRF", struck.xylophone),
    _train("laugh", UNSEEN, "PRF", voice.laugh),
    _single("ball_bounce", UNSEEN, "PF", 1.1, 1.2, impact.bounce),
    _single("zipper", UNSEEN, "BF", 0.5, 0.6, noise.zipper),
    _sustained("whistle", UNSEEN, "PDF", tone.whistle),
    _train("duck", UNSEEN, "PRF", voice.quack),
)
BY_NAME = {row.name: row for row in CLASSES}


def names(*tiers: str) -> tuple[str, ...]:
    """Class names of the given tiers in table order; all classes without an argument."""
    return tuple(row.name for row in CLASSES if not tiers or row.tier in tiers)
