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
    Object(
        "car",
        "vehicle",
        ("car", "car-side", "car-hatchback", "car-sports", "car-estate", "car-convertible", "car-outline", "car-limousine"),
        ("car-fill", "car-simple-fill"),
        place="road",
    ),
    Object(
        "bus",
        "vehicle",
        ("bus", "bus-side", "bus-school", "bus-simple", "bus-double-decker"),
        ("bus-fill", "bus-2-fill"),
        place="road",
    ),
    Object(
        "truck",
        "vehicle",
        ("truck", "truck-outline", "truck-pickup", "truck-moving", "truck-delivery", "truck-front", "truck-flatbed"),
        ("truck-fill",),
        place="road",
    ),
    Object(
        "train",
        "vehicle",
        ("train", "train-variant", "train-subway", "train-tram"),
        ("train-fill", "train-simple-fill"),
        place="rails",
    ),
    Object(
        "bicycle",
        "vehicle",
        ("bicycle", "bicycle-basket", "bicycle-electric", "bike"),
        ("bicycle-fill", "bike-fill"),
        place="road",
    ),
    Object(
        "airplane",
        "vehicle",
        ("airplane", "plane", "airplane-takeoff", "airplane-landing", "plane-departure", "plane-up"),
        ("airplane-fill", "plane-fill"),
        place="air",
    ),
    Object(
        "boat",
        "vehicle",
        ("sail-boat", "sailboat", "ferry", "ship"),
        ("boat-fill", "sailboat-fill", "ship-fill"),
        place="water",
    ),
    Object(
        "rocket",
        "vehicle",
        ("rocket", "rocket-launch", "rocket-outline", "rocket-launch-outline"),
        ("rocket-fill",),
        place="space",
    ),
    Object("dog", "animal", ("dog", "dog-side", "dog-service"), ("dog-fill",), is_alive=True),
    Object("cat", "animal", ("cat",), ("cat-fill",), is_alive=True),
    Object("fish", "animal", ("fish", "fish-fins"), ("fish-fill", "fish-simple-fill"), place="water", is_alive=True),
    Object("bird", "animal", ("bird", "crow", "dove", "duck"), ("bird-fill",), place="air", is_alive=True),
    Object("horse", "animal", ("horse-variant", "horse", "horse-head", "horse-variant-fast"), ("horse-fill",), is_alive=True),
    Object("bug", "animal", ("bug", "ladybug", "bug-outline"), ("bug-fill", "bug-beetle-fill"), is_alive=True),
    Object(
        "tree",
        "plant",
        ("tree", "pine-tree", "pine-tree-variant", "tree-outline", "pine-tree-variant-outline"),
        ("tree-fill", "tree-evergreen-fill"),
        is_alive=True,
    ),
    Object(
        "flower",
        "plant",
        ("flower", "flower-tulip", "flower-outline", "flower-tulip-outline", "flower-poppy", "flower-pollen"),
        ("flower-fill", "flower-lotus-fill"),
        is_alive=True,
    ),
    Object("leaf", "plant", ("leaf", "leaf-maple"), ("leaf-fill",), is_alive=True),
    Object("pizza", "food", ("pizza", "pizza-slice"), ("pizza-fill",), place="kitchen"),
    Object(
        "cake",
        "food",
        ("cake", "cake-candles", "cake-variant", "cake-layered", "cake-variant-outline"),
        ("cake-fill", "cake-2-fill"),
        place="kitchen",
    ),
    Object("egg", "food", ("egg", "egg-easter", "egg-outline"), ("egg-fill", "egg-crack-fill"), place="kitchen"),
    Object("coffee", "drink", ("coffee", "mug-saucer", "coffee-outline", "mug-hot"), ("coffee-fill",), place="kitchen"),
    Object("wine", "drink", ("glass-wine", "wine-glass", "wine-glass-empty"), ("wine-fill", "goblet-fill"), place="kitchen"),
    Object("scissors", "tool", ("content-cut", "scissors", "scissors-cutting"), ("scissors-fill",), use="cutting"),
    Object("knife", "tool", ("knife",), ("knife-fill",), place="kitchen", use="cutting"),
    Object("pencil", "tool", ("pencil", "pencil-outline", "lead-pencil"), ("pencil-fill", "pencil-simple-fill"), use="writing"),
    Object("key", "tool", ("key", "key-variant", "key-outline"), ("key-fill",), use="opening doors"),
    Object("lock", "tool", ("lock", "lock-outline"), ("lock-fill", "lock-simple-fill"), use="locking"),
    Object("wrench", "tool", ("wrench", "wrench-outline"), ("wrench-fill",), use="repairing"),
    Object(
        "clock",
        "device",
        ("clock", "clock-outline", "clock-time-two", "clock-time-five", "clock-time-eight-outline", "clock-time-eleven"),
        ("clock-fill", "time-fill"),
        use="telling time",
    ),
    Object("watch", "device", ("watch", "watch-variant", "watch-vibrate"), ("watch-fill",), use="telling time"),
    Object("camera", "device", ("camera", "camera-outline", "camera-retro"), ("camera-fill",), use="photos", is_electric=True),
    Object(
        "phone",
        "device",
        ("cellphone", "mobile-screen-button", "cellphone-text", "mobile-screen", "mobile"),
        ("device-mobile-fill", "smartphone-fill"),
        use="calling",
        is_electric=True,
    ),
    Object("laptop", "device", ("laptop", "laptop-code"), ("laptop-fill", "macbook-fill"), is_electric=True),
    Object("printer", "device", ("printer", "print", "printer-outline"), ("printer-fill",), use="printing", is_electric=True),
    Object(
        "television",
        "device",
        ("television", "tv", "television-classic"),
        ("television-fill", "tv-fill"),
        place="living room",
        is_electric=True,
    ),
    Object(
        "headphones",
        "device",
        ("headphones", "headphones-simple"),
        ("headphones-fill", "headphone-fill"),
        use="music",
        is_electric=True,
    ),
    Object(
        "light bulb",
        "device",
        (
            "lightbulb",
            "lightbulb-outline",
            "lightbulb-on",
            "lightbulb-on-outline",
            "lightbulb-variant",
            "lightbulb-variant-outline",
        ),
        ("lightbulb-fill",),
        use="light",
        is_electric=True,
    ),
    Object("compass", "device", ("compass", "compass-outline"), ("compass-fill",), use="finding the way"),
    Object(
        "bed",
        "furniture",
        ("bed", "bed-king", "bed-empty", "bed-double", "bed-outline", "bed-single", "bed-queen"),
        ("bed-fill", "hotel-bed-fill"),
        place="bedroom",
    ),
    Object(
        "armchair",
        "furniture",
        ("sofa", "couch", "sofa-single", "sofa-outline", "sofa-single-outline"),
        ("armchair-fill", "couch-fill"),
        place="living room",
    ),
    Object(
        "lamp",
        "furniture",
        ("lamp", "floor-lamp", "desk-lamp", "floor-lamp-torchiere", "floor-lamp-outline", "lamp-outline", "desk-lamp-on"),
        ("lamp-fill",),
        place="living room",
        use="light",
        is_electric=True,
    ),
    Object("shower", "furniture", ("shower", "shower-head"), ("shower-fill",), place="bathroom"),
    Object(
        "house", "building", ("home", "house", "home-outline", "home-variant", "house-chimney"), ("house-fill", "home-fill")
    ),
    Object("factory", "building", ("factory", "industry"), ("factory-fill",)),
    Object("sun", "weather", ("white-balance-sunny", "sun", "weather-sunny"), ("sun-fill",)),
    Object("cloud", "weather", ("cloud", "cloud-outline", "weather-cloudy"), ("cloud-fill", "cloudy-fill")),
    Object("snowflake", "weather", ("snowflake", "snowflake-variant"), ("snowflake-fill", "snowy-fill")),
    Object("umbrella", "clothing", ("umbrella", "umbrella-outline"), ("umbrella-fill",)),
    Object("crown", "clothing", ("crown", "crown-outline"), ("crown-fill", "vip-crown-fill")),
    Object(
        "shirt",
        "clothing",
        ("tshirt-crew", "shirt", "tshirt-crew-outline", "tshirt-v", "tshirt-v-outline"),
        ("t-shirt-fill", "t-shirt-2-fill"),
    ),
    Object(
        "book",
        "tool",
        ("book", "book-open", "book-outline", "book-open-variant", "book-open-outline", "book-open-page-variant"),
        ("book-fill", "book-open-fill"),
        use="reading",
    ),
    Object("map", "tool", ("map", "map-outline", "map-legend"), ("map-trifold-fill", "map-fill"), use="finding the way"),
    Object("football", "sport", ("football",), ("football-fill",)),
    Object("basketball", "sport", ("basketball",), ("basketball-fill",)),
    Object("baseball", "sport", ("baseball", "baseball-bat-ball", "baseball-outline"), ("baseball-fill",)),
    Object("ear", "body part", ("ear-hearing", "ear-listen"), ("ear-fill",), is_alive=True),
    Object("eye", "body part", ("eye", "eye-outline"), ("eye-fill",), is_alive=True),
    Object(
        "hand",
        "body part",
        ("hand-back-right", "hand", "hand-back-left", "hand-back-right-outline", "hand-front-right", "hand-front-left"),
        ("hand-fill", "hand-palm-fill"),
        is_alive=True,
    ),
    Object("pill", "medicine", ("pill", "capsules"), ("pill-fill", "capsule-fill")),
    Object("syringe", "medicine", ("needle", "syringe"), ("syringe-fill",)),
    Object(
        "thermometer",
        "medicine",
        ("thermometer", "thermometer-low", "thermometer-high", "thermometer-lines"),
        ("thermometer-fill", "temp-hot-fill"),
    ),
)
