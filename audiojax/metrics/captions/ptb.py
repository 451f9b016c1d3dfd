"""The words of a caption as pycocoevalcap gets them from Stanford's PTBTokenizer 3.4.1: split as in the Penn Treebank, lower case, without
punctuation. "The dog's bark isn't loud." is the, dog, 's, bark, is, n't, loud.

At every place of the text the rule that reads furthest wins, the first of several that read equally far; a rule may look further than the
word that it makes. What nothing reads, an emoji for instance, ends a word and is dropped. The marks of PUNCTUATION are dropped too, but not
brackets: they are punctuation in capitals alone, and "-lrb-" is in lower case. A caption is read alone; pycocoevalcap reads them all as one
text, where a single letter or "no." at the end of a caption may lose or keep its full stop by how the next one begins.
"""

import re
import unicodedata

CURLED = "‘’‛“”‹›«»\x91\x93\x94"  # quotes, which two together make one word
PUNCTUATION = frozenset([*"'`.?!,:;-\u2010\u2011\u058a\u066b\u066c", "''", "``", "--", "..."])
WRITTEN = {  # how words are written that are not written as they stand
    **dict.fromkeys("\u2018\u201b\u2039\u0091", "`"),
    **dict.fromkeys("\u2019\u203a\u0092", "'"),
    **dict.fromkeys("\u201c\xab\u0093", "``"),
    **dict.fromkeys("\u201d\xbb\u0094", "''"),
    **dict.fromkeys("\u2013\u2014\u2015\u0096\u0097", "--"),
    **dict.fromkeys(("&mdash;", "&MD;", "&ndash;"), "--"),
    **dict.fromkeys("\u20ac\u20a0\xa4\x80", "$"),
    "\u2026": "...",
    "\xa3": "#",
    "\xa2": "cents",
    '"': "''",
    "&quot;": "''",
    "&apos;": "'",
    "&amp;": "&",
    "&lt;": "<",
    "&gt;": ">",
    "&nbsp;": "-",
    "\xbc": "1/4",
    "\xbd": "1/2",
    "\xbe": "3/4",
    "\u2153": "1/3",
    "\u2154": "2/3",
    "(": "-lrb-",
    ")": "-rrb-",
    "[": "-lsb-",
    "]": "-rsb-",
    "{": "-lcb-",
    "}": "-rcb-",
}
SYMBOLS = (  # that are words of their own; other characters that are no letters are dropped
    "\x80\x91-\x94\x96-\x97\xa1-\xa9\xab-\xac\xae-\xb4\xb6-\xb9\xbb-\xbf\xd7\xf7\u037e\u0387\u0589\u05be\u05c0\u05c3\u05c6\u05f3-\u05f4"
    "\u0600-\u0603\u0606-\u060c\u0614\u061b\u061e-\u061f\u066a\u066d\u06d4\u0700-\u070d\u07f6-\u07f8\u0964-\u0965\u0e3f\u0e4f\u1fbd"
    "\u2013-\u2023\u2026\u2030-\u203b\u203e-\u2042\u2044\u2070\u2074-\u207e\u2080-\u208e\u20a0\u20a4\u20ac\u2100-\u2101\u2103-\u2106"
    "\u2108-\u2109\u2114\u2116-\u2118\u211e-\u2123\u2125\u2127\u2129\u212e\u213a-\u213b\u2140-\u2144\u214a-\u214d\u214f\u2153-\u215e"
    "\u2190-\u2bff\u3001-\u3002\u3012\u30fb\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65\uffe0-\uffe1\uffe5-\uffe6"
)
IS_SYMBOL = re.compile(f"[{SYMBOLS}]")
LAST_MARK = "\u0e4f"  # vowel signs and accents of later scripts are dropped
LAST_LETTER = "\uffff"  # so are letters that Java writes as two characters
ALIKE = {**dict.fromkeys("\u2010\u2011\u058a", "-"), **dict.fromkeys("\u066b\u066c", ","), "\x92": "’"}  # how the rules see them

ABBREVIATIONS = """
    adj adm adv al ala alex apr ariz assn assoc asst atty aug ave bhd bldg blvd brig bros calif capt cf cie cmdr co col colo comdr conn corp
    cos cpl ct dak dec dept det dr drs elec ens esq est etc ext feb fla fri ft ga gen gov govs hon inc ind insp intl invt jan jos jr jul jun
    kan kans ky lieut lt ltd maj mar md messrs mich minn mlle mme mo mon mont mr mrs ms msgr mt natl neb nev nov oct okla penn pfc ph plc
    pres prof profs pvt rd rep reps rev rt sen sens sep sept seq sfc sgt spc sq sr st ste supt sys tel tenn thu thurs treas tue tues univ va
    vs vt wed wis wisc wm wyo"""
COMPANIES = "mfg mtg ppte ppty pte ptes pty ptys"  # not in capitals
STATES = "ark az del ill la mass miss ore pa tex wash"  # not in lower case, where they are words
BEFORE_NUMBERS = "art ca fig figs no nos op p pp prop"  # abbreviations where a number follows
OPENERS = """
    a about according additionally after an as at but earlier he her here however if in it last many more now once one other our she since
    so some such that the their then there these they this we what when while yet you"""  # of sentences: the single letter before ended one
EXTENSIONS = "bat bmp bz2 c cgi cpp dll docx? exe gif gz h html? jar java jpe?g mov mp3 pdf php pl png ppt ps py sql tar txt wav x xml zip"


def _any(words: str) -> str:
    return "|".join(words.split())


def _titled(words: str) -> str:
    return _any(words.title())


LETTER, ALNUM, QUOTE = "[A-Za-zé]", "[A-Za-zé0-9]", "['’]"
ENTITY_LETTER, ENTITY_ALNUM = (f"(?:{kind}|&[aeiou](?:acute|grave|uml);)" for kind in (LETTER, ALNUM))
PIECE = "[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}"  # of "either/or"
NAME = "[A-Za-z][A-Za-z0-9_:.-]*"  # of a tag
WORD = f"{ENTITY_LETTER}{ENTITY_ALNUM}*(?:[.?!]{ENTITY_LETTER}{ENTITY_ALNUM}*)*"
JOINED = f"{ALNUM}+(?:[-_]{ALNUM}+)*"
HYPHENATED = r"[a-z0-9][a-z0-9.,]*(?:-(?:[a-z](?:\.[a-z])+\.|[a-z0-9]+))+"
ELIDED = f"(?:{ALNUM}+[-_])*[dol]{QUOTE}{ALNUM}{{2,}}(?:-{ALNUM}+)*"  # o'clock, d'artagnan
LINKED = "(?-i:[A-Z]+(?:(?:[+&]|&amp;)[A-Z]+)+)"  # AT&T
IN_ADDRESS, ENDS_ADDRESS = r"[^\s\"<>|()]", r"[^\s\"<>|.!?(){},-]"
LETTERS = (  # rules that begin with a letter; the first group is the word, what follows it is only looked at
    "(can)not|(gon)na|(got)ta|(lem)me|(gim)me|(wan)na",
    f"({WORD})",
    f"({LINKED})",
    rf"([a-z]+?)n{QUOTE}t",
    rf"({LETTER}+){QUOTE}(?:[msd]|re|ve|ll)",
    rf"(n{QUOTE}t)",
    rf"((?-i:[A-HJ-XZn]){QUOTE}{LETTER}{{2,}})",
    rf"({LETTER}+[aeiouy]{QUOTE}(?-i:[aeiouA-Z]){LETTER}*)",
    rf"(e'er|c{QUOTE}mon|c{QUOTE}est|cap{QUOTE}n|(?:dunkin|somethin|ol|[ldj]){QUOTE})",
    rf"(y{QUOTE}){LETTER}",
    rf"((?:{_any(ABBREVIATIONS)})\.)",
    rf"((?-i:{_any(COMPANIES)}|{_titled(COMPANIES)}|{_titled(STATES)}|{_any(STATES.upper())})\.)",
    rf"((?:{_any(BEFORE_NUMBERS)})\.) ?\d",
    r"([a-z](?:\.[a-z])+\.|(?:ph|ed)\.d\.)",
    rf"([a-z]\.)(?! +(?-i:{_titled(OPENERS)}|{_any(OPENERS.upper())})(?: |$))",
    r"(c\+\+|(?-i:[CcFf])#|(?-i:[A-Z]+)\$)",
)
ALNUMS = (
    f"({JOINED})",
    f"({HYPHENATED})",
    f"({ELIDED})",
    *(rf"({word}\.)[,;:\u3001]" for word in (WORD, LINKED, JOINED, HYPHENATED, ELIDED)),  # its full stop stays
    rf"({PIECE}(?:\\?/{PIECE}){{1,2}})",
    rf"({ALNUM}+(?:\.{ALNUM}+)*\.(?:{_any(EXTENSIONS)}))(?!{ALNUM})",
    rf"(https?://{IN_ADDRESS}+{ENDS_ADDRESS})",
    rf"((?:www\.(?:[^\s\"<>|.!?(){{}},]+\.)+[a-z]{{2,4}}|(?:[^\s\"`'<>|.!?(){{}},_$/-]+\.)+(?:com|net|org|edu))"
    rf"(?:/{IN_ADDRESS}+{ENDS_ADDRESS})?)",
    rf"([a-z0-9]{IN_ADDRESS}*@(?:[^\s\"<>|().]+\.)*[^\s\"|(){{}}.]+)",
)
NUMBERS = (
    r"([-+]?(?:\d*(?:[.:,]\d+)+|\d+))",
    r"(\d{1,2}[-/]\d{1,2}[-/]\d{2,4})",
    r"((?:\d{1,4}[- ])?\d{1,4}(?:\\?/|\u2044)\d{1,4})",
    r"((?:\(\d{2,3}\) ?|(?:\+\+?)?(?:\d{2,4}[- ])?\d{2,4}[- ])\d{3,4}[- ]?\d{3,5})",  # a telephone number
    r"((?:(?:\+\+?)?\d{2,4}\.)?\d{2,4}\.\d{3,4}\.\d{3,5})",
)
MARKS = (
    r"('(?:[msd]|re|ve|ll))(?![a-z])|(’(?:[msd]|re|ve|ll))",
    rf"({QUOTE}(?:em|til|cause|n{QUOTE}))",
    r"('t)(?:is|was)",
    r"(')[a-z]{2}",  # an opening quote
    r"('n)(?![a-z0-9])|(’n)",
    f"([{CURLED}]{{2}})",
    rf"({QUOTE}\d\ds|{QUOTE}\d\d(?!\S))",
    r"([-^x=~<>']_[-^x=~<>']|\([-^x=~<>'][_.]?[-^x=~<>']\)|\([\^x=~<>']-[\^x=~<>'`]\))",
    r"([<>]?[:;=][-o*']?(?-i:[()DdPpO\\{@|\[\]]))(?![a-z0-9])",
    rf"(<(?:[!?][a-z-][^>]*|/{NAME} ?|{NAME}(?: +{NAME}(?:=(?:\"[^\"]*\"|'[^']*'))?)* ?/?)>)",
    r"(&(?:amp|lt|gt|quot|apos|nbsp|[mn]dash|HT|TL|UR|LR|QC|QL|QR|odq|cdq|#\d+|[aeiou](?:acute|grave|uml));)",
    rf"(#{LETTER}+|@[a-z_][a-z0-9_]*)",
    "(-(?:lrb|rrb|lsb|rsb|lcb|rcb)-)",
    r"(''|``|-{2,4}|\.{3,5}|\. \. \.)",
    r"([!?]{2,}|\*+|#{2,}|@{2,}|_{2,}|-{5,}|<<|>>)",
    r"(\S)",
)


def _compiled(*groups: tuple[str, ...]) -> tuple[re.Pattern, ...]:
    return tuple(re.compile(rule, re.IGNORECASE) for rules in groups for rule in rules)


AT_LETTER, AT_DIGIT, AT_MARK = _compiled(LETTERS, ALNUMS), _compiled(ALNUMS, NUMBERS), _compiled(NUMBERS, MARKS)
CONTRACTION = re.compile(rf"{QUOTE}(?:[msd]|re|ve|ll)|n{QUOTE}t", re.IGNORECASE)
QUOTES = re.compile(f"[{CURLED}]+")
DROPPED = re.compile(r"-{2,4}|\.{3,5}|\. \. \.")
PLAIN = re.compile(rf"({LETTER}+)(?=,? |$)")  # most words, which no rule would read otherwise
SPLIT = {"cannot": ["can", "not"], **{word: [word[:3], word[3:]] for word in ("gonna", "gotta", "lemme", "gimme", "wanna")}}


def tokenize(caption: str) -> list[str]:
    """The words of a caption, in order; [] where it holds punctuation alone."""
    text = caption.replace("\xad", "")  # the soft hyphen
    shape = text if text.isascii() and text.isprintable() else "".join(map(_shape, text))
    words: list[str] = []
    at = 0
    while at < len(shape):
        if shape[at] == " ":
            at += 1
        elif plain := PLAIN.match(shape, at):
            word = text[at : plain.end()].lower()
            words += SPLIT.get(word, (word,))
            at = plain.end()
        else:
            end = _longest(shape, at)
            words += _written(text[at:end]).split()
            at = end
    return words


def _shape(character: str) -> str:
    """What the rules see: ASCII as it is, letters of other scripts as é and digits as 0, symbols as they are, the rest as spaces."""
    if character.isascii():
        return character if character.isprintable() else " "
    if character in ALIKE:
        return ALIKE[character]
    if IS_SYMBOL.match(character):
        return character
    category = unicodedata.category(character) if character <= LAST_LETTER else ""
    if category == "Nd":
        return "0"
    mark = category in ("Mn", "Mc", "Sk") and character <= LAST_MARK
    return "é" if mark or category.startswith("L") else " "


def _longest(shape: str, at: int) -> int:
    """Where the word ends that begins at `at`."""
    first = shape[at]
    rules = AT_DIGIT if first in "0123456789" else AT_LETTER if first == "é" or first.isascii() and first.isalpha() else AT_MARK
    found = max((match for rule in rules if (match := rule.match(shape, at))), key=re.Match.end)
    return found.end(found.lastindex)


def _written(token: str) -> str:
    """The word or words, with spaces between, that a token is written as; "" for punctuation."""
    token = "".join(WRITTEN[quote] for quote in token) if QUOTES.fullmatch(token) else WRITTEN.get(token, token)
    if token in PUNCTUATION or DROPPED.fullmatch(token):
        return ""
    if CONTRACTION.fullmatch(token):
        return token.replace("’", "'").lower()
    return token.replace("(", "-lrb-").replace(")", "-rrb-").replace("&amp;", "&").lower()
