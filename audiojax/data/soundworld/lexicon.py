"""The words of the captions: class phrases, attribute words, connectives, per domain.

A class phrase is "determiner noun|finite verb|gerund"; a (noun, verb) pair names exactly one class over both domains.
`studio` and `field` share most function words and about half of the phrases; the rest are synonyms, so that a text tower trained on
one domain meets new words in the other, but at least 70 % of the word tokens of `field` captions occur in `studio` captions.
"""

DOMAINS = ("studio", "field")

PHRASES = {  # class -> (studio phrases, field phrases)
    "dog_bark": ("a dog|barks|barking; a dog|woofs|woofing", "a dog|barks|barking; a hound|barks|barking"),
    "bird_chirp": ("a bird|chirps|chirping; a bird|tweets|tweeting", "a bird|chirps|chirping; a songbird|twitters|twittering"),
    "rain": ("rain|falls|falling; rain|pours|pouring", "rain|falls|falling; a shower|pours|pouring"),
    "footsteps": ("a person|walks|walking; footsteps|tap|tapping", "a person|walks|walking; footsteps|thud|thudding"),
    "siren": ("a siren|wails|wailing; a siren|sounds|sounding", "a siren|wails|wailing; an ambulance|wails|wailing"),
    "car_engine": ("a car engine|runs|running; a car|idles|idling", "a car engine|runs|running; a vehicle|idles|idling"),
    "church_bell": ("a church bell|rings|ringing; a bell|tolls|tolling", "a church bell|rings|ringing; a bell|chimes|chiming"),
    "clock_tick": ("a clock|ticks|ticking; a watch|ticks|ticking", "a clock|ticks|ticking; a timepiece|ticks|ticking"),
    "speech": ("a voice|speaks|speaking; a voice|talks|talking", "a voice|speaks|speaking; a speaker|talks|talking"),
    "car_horn": ("a car horn|honks|honking; a car|honks|honking", "a car horn|honks|honking; a vehicle|honks|honking"),
    "wind": ("wind|blows|blowing; wind|howls|howling", "wind|blows|blowing; a gale|howls|howling"),
    "phone_ring": ("a phone|rings|ringing; a telephone|rings|ringing", "a phone|rings|ringing; a telephone|jangles|jangling"),
    "cat_meow": ("a cat|meows|meowing; a kitten|meows|meowing", "a cat|meows|meowing; a cat|mews|mewing"),
    "thunder": ("thunder|rumbles|rumbling; thunder|rolls|rolling", "thunder|rumbles|rumbling; a storm|rumbles|rumbling"),
    "helicopter": ("a helicopter|flies|flying; a helicopter|hovers|hovering", "a helicopter|flies|flying; a chopper|hovers|hovering"),
    "hand_clap": ("a person|claps|clapping; hands|clap|clapping", "a person|claps|clapping; a person|applauds|applauding"),
    "guitar_pluck": (
        "a guitar string|is plucked|being plucked; a guitar|twangs|twanging",
        "a guitar string|is plucked|being plucked; a guitar|is strummed|being strummed",
    ),
    "knock": ("a person|knocks|knocking; a door|is knocked|being knocked", "a person|knocks|knocking; a visitor|knocks|knocking"),
    "water_drip": ("water|drips|dripping; a tap|drips|dripping", "water|drips|dripping; a faucet|drips|dripping"),
    "baby_cry": ("a baby|cries|crying; an infant|cries|crying", "a baby|cries|crying; a newborn|wails|wailing"),
    "crickets": ("crickets|chirp|chirping; insects|chirp|chirping", "crickets|chirp|chirping; crickets|sing|singing"),
    "hammer": ("a hammer|hits|hitting; a hammer|strikes|striking", "a hammer|hits|hitting; a hammer|pounds|pounding"),
    "waves": ("waves|crash|crashing; the sea|crashes|crashing", "waves|crash|crashing; the surf|breaks|breaking"),
    "ship_horn": ("a ship horn|sounds|sounding; a ship|sounds|sounding", "a ship horn|sounds|sounding; a foghorn|sounds|sounding"),
    "alarm_beep": ("an alarm|beeps|beeping; an alarm clock|beeps|beeping", "an alarm|beeps|beeping; a buzzer|beeps|beeping"),
    "drill": ("a drill|whirs|whirring; an electric drill|whirs|whirring", "a drill|whirs|whirring; a power drill|spins|spinning"),
    "frog": ("a frog|croaks|croaking; a toad|croaks|croaking", "a frog|croaks|croaking; a bullfrog|croaks|croaking"),
    "fire": ("fire|crackles|crackling; a fire|burns|burning", "fire|crackles|crackling; a campfire|crackles|crackling"),
    "flute": ("a flute|plays|playing; a flute|is played|being played", "a flute|plays|playing; a flute|is blown|being blown"),
    "horse": ("a horse|gallops|galloping; a horse|trots|trotting", "a horse|gallops|galloping; hooves|clop|clopping"),
    "owl": ("an owl|hoots|hooting; an owl|calls|calling", "an owl|hoots|hooting; a night bird|hoots|hooting"),
    "glass": ("a glass|clinks|clinking; a glass|is tapped|being tapped", "a glass|clinks|clinking; a goblet|clinks|clinking"),
    "typing": ("a person|types|typing; a keyboard|clicks|clicking", "a person|types|typing; a keyboard|clatters|clattering"),
    "gunshot": ("a gun|fires|firing; a gun|is fired|being fired", "a gun|fires|firing; a rifle|fires|firing"),
    "cow": ("a cow|moos|mooing; a cow|lows|lowing", "a cow|moos|mooing; a cow|bellows|bellowing"),
    "sheep": ("a sheep|bleats|bleating; a goat|bleats|bleating", "a sheep|bleats|bleating; a lamb|bleats|bleating"),
    "bubbling": ("water|bubbles|bubbling; water|gurgles|gurgling", "water|bubbles|bubbling; a brook|gurgles|gurgling"),
    "gong": ("a gong|is struck|being struck; a gong|sounds|sounding", "a gong|is struck|being struck; a gong|resounds|resounding"),
    "saw": ("a person|saws|sawing; a saw|cuts|cutting", "a person|saws|sawing; a handsaw|cuts|cutting"),
    "rooster": ("a rooster|crows|crowing; a cock|crows|crowing", "a rooster|crows|crowing; a cockerel|crows|crowing"),
    "steam_train": ("a steam train|chugs|chugging; a train|puffs|puffing", "a steam train|chugs|chugging; a locomotive|chugs|chugging"),
    "chainsaw": ("a chainsaw|buzzes|buzzing; a chainsaw|revs|revving", "a chainsaw|buzzes|buzzing; a chainsaw|snarls|snarling"),
    "door_creak": ("a door|creaks|creaking; a hinge|creaks|creaking", "a door|creaks|creaking; a gate|creaks|creaking"),
    "violin": ("a violin|plays|playing; a violin|is bowed|being bowed", "a violin|plays|playing; a fiddle|plays|playing"),
    "cuckoo": ("a cuckoo|calls|calling; a cuckoo|sings|singing", "a cuckoo|calls|calling; a cuckoo|cuckoos|cuckooing"),
    "motorcycle": ("a motorcycle|revs|revving; a motorbike|revs|revving", "a motorcycle|revs|revving; a motorcycle|roars|roaring"),
    "xylophone": ("a xylophone|plays|playing; a xylophone|is played|being played", "a xylophone|plays|playing; a marimba|plays|playing"),
    "laugh": ("a person|laughs|laughing; a voice|laughs|laughing", "a person|laughs|laughing; a person|giggles|giggling"),
    "ball_bounce": ("a ball|bounces|bouncing; a ball|drops|dropping", "a ball|bounces|bouncing; a basketball|bounces|bouncing"),
    "zipper": (
        "a zipper|is pulled|being pulled; a zipper|zips|zipping",
        "a zipper|is pulled|being pulled; a jacket|is zipped|being zipped",
    ),
    "whistle": (
        "a person|whistles|whistling; a tune|is whistled|being whistled",
        "a person|whistles|whistling; a melody|is whistled|being whistled",
    ),
    "duck": ("a duck|quacks|quacking; ducks|quack|quacking", "a duck|quacks|quacking; a mallard|quacks|quacking"),
}

ADJECTIVES = {  # (attribute, value) -> (studio words, field words); they stand before the noun
    ("pitch", "low"): ("low-pitched; deep; low", "deep; low; low-toned"),
    ("pitch", "high"): ("high-pitched; shrill; high", "shrill; high; high-toned"),
    ("brightness", "dull"): ("dull; dark; muffled", "dull; muffled; muted"),
    ("brightness", "bright"): ("bright; crisp; sharp", "bright; sharp; tinny"),
    ("distance", "far"): ("distant; faraway", "distant; remote"),
    ("distance", "near"): ("nearby; close", "nearby; close"),
    ("loudness", "loud"): ("loud; noisy", "loud; blaring"),
    ("loudness", "quiet"): ("quiet; soft; faint", "quiet; faint; weak"),
}
ADVERBS = {  # they stand behind the verb
    ("rate", "slow"): ("slowly; at a slow pace", "slowly; at a lazy pace"),
    ("rate", "fast"): ("quickly; rapidly; at a fast pace", "quickly; rapidly; at a hurried pace"),
    ("duration", "short"): ("briefly; for a moment", "briefly; for an instant"),
    ("duration", "long"): ("for a long time; at length", "for a long time; for ages"),
    ("distance", "far"): ("in the distance; far away", "in the distance; far off"),
    ("distance", "near"): ("close by; at close range", "close by; up close"),
    ("count", "1"): ("once", "once"),
    ("count", "2"): ("twice; two times", "twice; two times"),
    ("count", "3"): ("three times", "three times; thrice"),
}
CONNECTIVES = {  # role -> (studio, field); "+" asks for a gerund in the next clause, "-" for a finite verb
    "then": ("then; and then; -before; +followed by", "then; and then; after that; +followed by"),
    "after": ("after", "after"),
    "while": ("while; as", "while; just as"),
    "throughout": ("throughout; in the background", "throughout; all along"),
    "opener": ("the sound of; we hear", "the sound of; you can hear; a recording of"),
}
SAME_TIME = "at the same time"  # "X and Y at the same time"


def words(table: dict, key: object, domain: str) -> list[str]:
    """The choices of `key` in one domain, or [] where the table has none."""
    return table[key][DOMAINS.index(domain)].split("; ") if key in table else []


def phrases(name: str, domain: str) -> list[tuple[str, str, str, str]]:
    """(determiner or "", noun, finite verb, gerund) of each phrase of a class."""
    out = []
    for phrase in words(PHRASES, name, domain):
        noun, finite, gerund = phrase.split("|")
        first, _, rest = noun.partition(" ")
        out.append((first, rest, finite, gerund) if first in ("a", "an", "the") else ("", noun, finite, gerund))
    return out
