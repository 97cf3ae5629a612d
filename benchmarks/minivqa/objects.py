"""What is known of the objects that icons show: the facts behind the knowledge questions."""

from __future__ import annotations

from dataclasses import dataclass

SYNONYMS: dict[str, tuple[str, ...]] = {
    "vehicle": ("transport", "means of transport"),
    "animal": ("creature", "living thing"),
    "plant": ("vegetation", "greenery"),
    "food": ("something to eat", "snack"),
    "drink": ("beverage", "refreshment"),
    "tool": ("instrument", "utensil"),
    "furniture": ("home furnishing", "household item"),
    "building": ("structure", "house"),
    "weather": ("climate", "sky"),
    "device": ("electronics", "gadget"),
    "sport": ("game", "ball game"),
    "body part": ("part of the body", "organ"),
    "clothing": ("accessory", "something to wear"),
    "medicine": ("health care", "medical"),
    "road": ("street", "on the road"),
    "rails": ("rail", "on rails"),
    "water": ("sea", "in the water"),
    "air": ("sky", "in the air"),
    "space": ("outer space", "the sky"),
    "bedroom": ("room for sleeping", "in the bedroom"),
    "bathroom": ("bath", "in the bathroom"),
    "kitchen": ("cook's room", "in the kitchen"),
    "living room": ("lounge", "sitting room"),
    "cutting": ("to cut", "cut"),
    "writing": ("to write", "write"),
    "opening doors": ("unlocking", "to open a lock"),
    "photos": ("taking pictures", "pictures"),
    "light": ("lighting", "to give light"),
    "telling time": ("time", "to tell the time"),
    "reading": ("to read", "read"),
    "music": ("listening", "sound"),
    "finding the way": ("navigation", "directions"),
    "locking": ("security", "to lock"),
    "calling": ("talking", "to call"),
    "printing": ("to print", "paper"),
    "repairing": ("fixing", "to repair"),
}
"""What other people would have said: the minority among ten answers."""


@dataclass(frozen=True, slots=True)
class Object:
    """`seen` and `unseen`: its names in the icon sets of either half (an icon set may lack it). "" where a fact makes no sense.

    `place`: where it moves, lives or stands; `use`: what it is for.
    """

    name: str
    sort: str
    seen: tuple[str, ...]
    unseen: tuple[str, ...]
    place: str = ""
    use: str = ""
    is_alive: bool = False
    is_electric: bool = False


OBJECTS = (
    Object("car", "vehicle", ("car", "car-side"), ("car-fill", "car-simple-fill"), place="road"),
    Object("bus", "vehicle", ("bus", "bus-side"), ("bus-fill", "bus-2-fill"), place="road"),
    Object("truck", "vehicle", ("truck",), ("truck-fill",), place="road"),
    Object("train", "vehicle", ("train",), ("train-fill", "train-simple-fill"), place="rails"),
    Object("bicycle", "vehicle", ("bicycle",), ("bicycle-fill", "bike-fill"), place="road"),
    Object("airplane", "vehicle", ("airplane", "plane"), ("airplane-fill", "plane-fill"), place="air"),
    Object("boat", "vehicle", ("sail-boat", "sailboat", "ferry"), ("boat-fill", "sailboat-fill", "ship-fill"), place="water"),
    Object("rocket", "vehicle", ("rocket",), ("rocket-fill",), place="space"),
    Object("dog", "animal", ("dog", "dog-side"), ("dog-fill",), is_alive=True),
    Object("cat", "animal", ("cat",), ("cat-fill",), is_alive=True),
    Object("fish", "animal", ("fish", "fish-fins"), ("fish-fill", "fish-simple-fill"), place="water", is_alive=True),
    Object("bird", "animal", ("bird", "crow", "dove"), ("bird-fill",), place="air", is_alive=True),
    Object("horse", "animal", ("horse-variant", "horse"), ("horse-fill",), is_alive=True),
    Object("bug", "animal", ("bug", "ladybug"), ("bug-fill", "bug-beetle-fill"), is_alive=True),
    Object("tree", "plant", ("tree", "pine-tree"), ("tree-fill", "tree-evergreen-fill"), is_alive=True),
    Object("flower", "plant", ("flower", "flower-tulip"), ("flower-fill", "flower-lotus-fill"), is_alive=True),
    Object("leaf", "plant", ("leaf",), ("leaf-fill",), is_alive=True),
    Object("pizza", "food", ("pizza", "pizza-slice"), ("pizza-fill",), place="kitchen"),
    Object("cake", "food", ("cake", "cake-candles", "cake-variant"), ("cake-fill", "cake-2-fill"), place="kitchen"),
    Object("egg", "food", ("egg", "egg-easter"), ("egg-fill", "egg-crack-fill"), place="kitchen"),
    Object("coffee", "drink", ("coffee", "mug-saucer"), ("coffee-fill",), place="kitchen"),
    Object("wine", "drink", ("glass-wine", "wine-glass"), ("wine-fill", "goblet-fill"), place="kitchen"),
    Object("scissors", "tool", ("content-cut", "scissors", "scissors-cutting"), ("scissors-fill",), use="cutting"),
    Object("knife", "tool", ("knife",), ("knife-fill",), place="kitchen", use="cutting"),
    Object("pencil", "tool", ("pencil",), ("pencil-fill", "pencil-simple-fill"), use="writing"),
    Object("key", "tool", ("key", "key-variant"), ("key-fill",), use="opening doors"),
    Object("lock", "tool", ("lock",), ("lock-fill", "lock-simple-fill"), use="locking"),
    Object("wrench", "tool", ("wrench",), ("wrench-fill",), use="repairing"),
    Object("clock", "device", ("clock",), ("clock-fill", "time-fill"), use="telling time"),
    Object("watch", "device", ("watch",), ("watch-fill",), use="telling time"),
    Object("camera", "device", ("camera",), ("camera-fill",), use="photos", is_electric=True),
    Object(
        "phone",
        "device",
        ("cellphone", "mobile-screen-button"),
        ("device-mobile-fill", "smartphone-fill"),
        use="calling",
        is_electric=True,
    ),
    Object("laptop", "device", ("laptop",), ("laptop-fill", "macbook-fill"), is_electric=True),
    Object("printer", "device", ("printer", "print"), ("printer-fill",), use="printing", is_electric=True),
    Object("television", "device", ("television", "tv"), ("television-fill", "tv-fill"), place="living room", is_electric=True),
    Object("headphones", "device", ("headphones",), ("headphones-fill", "headphone-fill"), use="music", is_electric=True),
    Object("light bulb", "device", ("lightbulb",), ("lightbulb-fill",), use="light", is_electric=True),
    Object("compass", "device", ("compass",), ("compass-fill",), use="finding the way"),
    Object("bed", "furniture", ("bed", "bed-king", "bed-empty"), ("bed-fill", "hotel-bed-fill"), place="bedroom"),
    Object("armchair", "furniture", ("sofa", "couch", "sofa-single"), ("armchair-fill", "couch-fill"), place="living room"),
    Object(
        "lamp",
        "furniture",
        ("lamp", "floor-lamp", "desk-lamp"),
        ("lamp-fill",),
        place="living room",
        use="light",
        is_electric=True,
    ),
    Object("shower", "furniture", ("shower", "shower-head"), ("shower-fill",), place="bathroom"),
    Object("house", "building", ("home", "house"), ("house-fill", "home-fill")),
    Object("factory", "building", ("factory", "industry"), ("factory-fill",)),
    Object("sun", "weather", ("white-balance-sunny", "sun"), ("sun-fill",)),
    Object("cloud", "weather", ("cloud",), ("cloud-fill", "cloudy-fill")),
    Object("snowflake", "weather", ("snowflake", "snowflake-variant"), ("snowflake-fill", "snowy-fill")),
    Object("umbrella", "clothing", ("umbrella",), ("umbrella-fill",)),
    Object("crown", "clothing", ("crown",), ("crown-fill", "vip-crown-fill")),
    Object("shirt", "clothing", ("tshirt-crew", "shirt"), ("t-shirt-fill", "t-shirt-2-fill")),
    Object("book", "tool", ("book", "book-open"), ("book-fill", "book-open-fill"), use="reading"),
    Object("map", "tool", ("map",), ("map-trifold-fill", "map-fill"), use="finding the way"),
    Object("football", "sport", ("football",), ("football-fill",)),
    Object("basketball", "sport", ("basketball",), ("basketball-fill",)),
    Object("baseball", "sport", ("baseball", "baseball-bat-ball"), ("baseball-fill",)),
    Object("ear", "body part", ("ear-hearing", "ear-listen"), ("ear-fill",), is_alive=True),
    Object("eye", "body part", ("eye",), ("eye-fill",), is_alive=True),
    Object("hand", "body part", ("hand-back-right", "hand"), ("hand-fill", "hand-palm-fill"), is_alive=True),
    Object("pill", "medicine", ("pill", "capsules"), ("pill-fill", "capsule-fill")),
    Object("syringe", "medicine", ("needle", "syringe"), ("syringe-fill",)),
    Object("thermometer", "medicine", ("thermometer",), ("thermometer-fill", "temp-hot-fill")),
)
