"""Painted words, and the colors they are painted in.

None has more than six letters (larger print), and none answers any other question.
"""

from __future__ import annotations

from zoo.minivqa.lettering import Color

SIGN_WORDS = tuple(
    "open closed exit enter stop slow bakery cafe hotel bank taxi school park museum market "
    "police fire pizza coffee tea bread fish meat fruit milk juice beer wine books toys "
    "shoes hats garden music cinema office bar grill sale free new hot cold push pull "
    "danger quiet north south east west main king queen lake river bridge beach garage "
    "doctor salon barber gym pool info".split()
)
PRINTED_WORDS = tuple(
    "about after again answer apple artist autumn basket before better border bottle bread "
    "bridge bright broken butter button candle carbon castle center chance change cheese "
    "church circle client coast color common copper corner cotton course credit crown "
    "custom damage dance danger degree desert detail dinner direct doctor dollar double "
    "dragon dream driver eagle early earth effect eight energy engine family famous farmer "
    "father figure finger finish flight follow forest friend frozen future garden gentle "
    "giant glass global gold ground growth guitar harbor health heart heavy hidden honey "
    "horse hunter iron island jacket jungle ladder laser leader legend lemon letter liquid "
    "little local magic major marble market master matter medal memory metal middle mirror "
    "modern money mother motion music nature needle nickel night number object ocean office "
    "order orient packet palace paper parade people pepper person planet plate pocket "
    "poetry polar power prince public puzzle queen quick rabbit radio random reason record "
    "region ribbon right river round royal rubber safety salmon sample school season secret "
    "seven shadow sharp silver simple singer sister smart smoke snow social solid sound "
    "south spider spirit spring square stable steam stone storm story street strong studio "
    "sugar summer sunset system table talent target temple theory ticket tiger timber token "
    "tower travel tunnel turtle twelve under union valley velvet violet vision volume "
    "voyage wagon wheel window winter wisdom wonder world zebra".split()
)
COLORS: dict[str, Color] = {
    "red": (205, 32, 38),
    "green": (24, 138, 66),
    "blue": (30, 80, 190),
    "yellow": (246, 205, 44),
    "black": (24, 24, 24),
    "white": (248, 248, 244),
    "orange": (242, 128, 24),
    "purple": (122, 52, 160),
}
DARK = frozenset(["red", "green", "blue", "black", "purple"])


def ink_on(color: str) -> Color:
    """A readable ink on a sign of that color."""
    return COLORS["white"] if color in DARK else COLORS["black"]
