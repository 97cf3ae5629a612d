"""Words that are painted, and the colors they are painted in."""

from __future__ import annotations

from benchmarks.minivqa.lettering import Color

SIGN_WORDS = tuple(
    "open closed exit enter stop slow bakery cafe hotel bank taxi bus school park museum library market pharmacy police fire "
    "pizza coffee tea bread fish meat fruit milk juice water beer wine books toys shoes hats flowers garden music cinema "
    "theater office bar grill sale free new hot cold push pull parking private danger caution quiet welcome north south east "
    "west main king queen lake river bridge beach garage hospital dentist doctor salon barber gym pool tickets info".split()
)
PRINTED_WORDS = tuple(
    "about after again animal answer apple artist autumn balance basket before better between black blanket border bottle "
    "bread bridge bright broken brother butter button camera candle carbon castle center chance change cheese church circle "
    "client cloud coast color common copper corner cotton country course credit crown culture custom damage dance danger "
    "degree desert detail dinner direct doctor dollar double dragon dream driver eagle early earth effect eight energy engine "
    "evening family famous farmer father figure finger finish flight flower follow forest fortune forward freedom friend "
    "frozen future garden gentle giant glass global gold green ground growth guitar harbor health heart heavy hidden history "
    "honey horse house hunter iron island jacket jungle justice kitchen ladder laser leader legend lemon letter light liquid "
    "little local magic major marble market master matter medal memory metal middle million mirror modern money monster "
    "morning mother motion mountain music nature needle nickel night nothing number object ocean office orange order "
    "orient packet palace paper parade pencil people pepper person phone picture planet plastic plate pocket poetry polar "
    "power prince public puzzle quality queen quick rabbit radio random reason record region ribbon right river rocket "
    "round royal rubber safety salmon sample school science season secret seven shadow sharp shelter silver simple singer "
    "sister smart smoke snow social solid sound south space spider spirit spring square stable station steam stone storm "
    "story street strong studio sugar summer sunset system table talent target teacher temple theory thunder ticket tiger "
    "timber token tower travel treasure triangle tunnel turtle twelve under union valley velvet village violet vision "
    "volume voyage wagon water weather welcome wheel white window winter wisdom wonder world yellow zebra".split()
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
