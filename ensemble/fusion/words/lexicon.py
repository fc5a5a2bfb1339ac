"""The English words that the parser of expressions knows; `colour.py` lists the colour words."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


# words that carry no meaning of their own here
FILLERS = _words(
    "a an the its his her their it s t this these those is are was be being been to of and which that who while as or "
    "then colored coloured color colour fully very one's himself herself itself so there than"
)
GENERIC = _words("one ones thing things object objects animal animals other others another creature something")
PEOPLE = _words(
    "person persons people man men woman women boy boys girl girls kid kids child children lady ladies guy guys human "
    "humans someone baby toddler player players rider riders surfer surfers skateboarder skater skier biker cyclist "
    "driver jockey dancer skydiver guitarist crowd swimmer snowboarder motorcyclist passenger passengers teenager "
    "adult male female gentleman dude diver climber soldier policeman worker farmer audience team performer singer "
    "musician cowboy runner paraglider"
)
CLOTHES = _words(
    "shirt tshirt shorts pants pant jeans jacket hat helmet cap dress suit vest coat hoodie sweater sweatshirt outfit "
    "singlet uniform trousers shoes boots gloves glasses sunglasses goggles backpack bag hair belt skirt top sari "
    "scarf socks wetsuit jumpsuit costume robe clothes clothing cloth cloths tie blouse bikini mask collar feathers "
    "patches stripe stripes spots fur tail head face legs wings mane beak eyes neck back rims handles tank"
)
SCENE = _words(
    "grass water road snow field ground floor sea ocean sky court street room toilet bathroom pool river lake beach "
    "forest woods park wall tree trees stage air background cage garden yard hill mountain track race sand mud ice "
    "dirt rock rocks sidewalk zoo aquarium cart picture image video frame view kitchen crowd group hand hands mouth "
    "sun shade sunlight distance front middle center corner row circle land stream waves net place competition area "
    "kennel box house barn"
)
# where a new part of the sentence begins. A landmark is another object, which is not looked for.
PART_OPENERS = _words("with in wearing dressed wears wear weared having has holding carrying riding")
LANDMARK_OPENERS = _words(
    "on at from by near behind next beside between above under below around towards toward over across into through "
    "along inside outside against among off down up onto underneath beneath after before for like about infront "
    "within via during without closest nearest beyond alongside out away of and not no except but"
)
MOVING = _words(
    "moving walking running swimming flying driving crawling skating skateboarding jumping racing surfing cycling "
    "rolling sliding crossing chasing galloping drifting moves moved walks runs going coming traveling travelling "
    "biking sprinting trotting floating leaving entering approaching passing riding paddling snowboarding skiing "
    "rides goes comes marching jogging flies swims jumps climbing advancing"
)
STILL = _words(
    "standing sitting laying lying parked seated still stationary resting sleeping stopped motionless sits stands "
    "lays stood laid sat kneeling stays idle"
)
TURNING = _words("turning turns turned spinning spins rotating twirling rotates")
# verb forms that end the head of the sentence, apart from words in -ing
VERBS = _words(
    "is are being held used worn ridden placed carried thrown seen shown kept moved played driven rode holded towed "
    "pulled pushed tied attached strapped covered trying touched picked surrounded made hit known can starts start "
    "does do gets get was were lies leaning eats eat plays looks looked turns"
)
NOUNS_IN_ING = _words(
    "ring string king wing swing building painting thing railing ceiling clothing earring something spring sling "
    "being duckling gosling dumpling bedding"
)  # fmt: skip
SMALL = _words("small smaller smallest little tiny young short shorter shortest baby mini younger")
LARGE = _words("big bigger biggest large larger largest huge giant adult great long longer fat older")
SPEEDS = {"fastest": "fastest", "quickest": "fastest", "slowest": "slowest"}
TALL = _words("tall taller tallest")
NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "both": 2, "pair": 2, "couple": 2}
QUANTIFIERS = frozenset(["all", "every", "many", "several", "some"])
ALL = QUANTIFIERS | frozenset(["group", "flock", "herd", "crowd", "bunch", "number", "row"])
ORDINALS = {"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "1st": 1, "2nd": 2, "3rd": 3}
SAME_IN_PLURAL = _words("sheep fish deer glasses shorts bus jeans pants")
IRREGULAR = dict(
    pair.split(":")
    for pair in _words(
        "men:man women:woman people:person persons:person children:child mice:mouse geese:goose fishes:fish "
        "leaves:leaf feet:foot knives:knife buses:bus wolves:wolf calves:calf kids:kid puppies:puppy oxen:ox"
    )
)


def singular(word: str) -> str:
    """The singular of an English noun, as far as simple rules know it.

    >>> [singular(w) for w in ("dogs", "foxes", "puppies", "women", "glass", "bus", "sheep")]
    ['dog', 'fox', 'puppy', 'woman', 'glass', 'bus', 'sheep']
    """
    if word in IRREGULAR or word in SAME_IN_PLURAL:
        return IRREGULAR.get(word, word)
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("xes", "ches", "shes", "sses", "zes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3 else word


def is_plural(word: str) -> bool:
    """Whether a noun is surely a plural; "sheep" may be one.

    >>> [is_plural(w) for w in ("dogs", "dog", "women", "sheep", "jeans")]
    [True, False, True, False, False]
    """
    return singular(word) != word
