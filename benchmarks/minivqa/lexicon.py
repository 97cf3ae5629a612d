"""Words that are painted, and the colors they are painted in.

None is an answer to anything but what is written: whoever knows it from elsewhere has not read it.
"""

from __future__ import annotations

from benchmarks.minivqa.lettering import Color

SIGN_WORDS = tuple(
    "open closed exit enter stop slow bakery cafe hotel bank taxi school park museum library market pharmacy police fire "
    "pizza coffee tea bread fish meat fruit milk juice beer wine books toys shoes hats flowers garden music cinema theater "
    "office bar grill sale free new hot cold push pull parking private danger caution quiet welcome north south east west "
    "main king queen lake river bridge beach garage hospital dentist doctor salon barber gym pool tickets info".split()
)
PRINTED_WORDS = tuple(
    "about after again answer apple artist autumn balance basket before better between blanket border bottle bread bridge "
    "bright broken brother butter button candle carbon castle center chance change cheese church circle client coast color "
    "common copper corner cotton country course credit crown culture custom damage dance danger degree desert detail dinner "
    "direct doctor dollar double dragon dream driver eagle early earth effect eight energy engine evening family famous "
    "farmer father figure finger finish flight follow forest fortune forward freedom friend frozen future garden gentle "
    "giant glass global gold ground growth guitar harbor health heart heavy hidden history honey horse hunter iron island "
    "jacket jungle justice ladder laser leader legend lemon letter liquid little local magic major marble market master "
    "matter medal memory metal middle million mirror modern money monster morning mother motion mountain music nature "
    "needle nickel night nothing number object ocean office order orient packet palace paper parade people pepper person "
    "picture planet plastic plate pocket poetry polar power prince public puzzle quality queen quick rabbit radio random "
    "reason record region ribbon right river round royal rubber safety salmon sample school science season secret seven "
    "shadow sharp shelter silver simple singer sister smart smoke snow social solid sound south spider spirit spring square "
    "stable station steam stone storm story street strong studio sugar summer sunset system table talent target teacher "
    "temple theory thunder ticket tiger timber token tower travel treasure triangle tunnel turtle twelve under union valley "
    "velvet village violet vision volume voyage wagon welcome wheel window winter wisdom wonder world zebra".split()
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
    """What can be read on a sign of that color."""
    return COLORS["white"] if color in DARK else COLORS["black"]
