"""Objects that icons show, and the facts behind the knowledge questions."""

from __future__ import annotations

from dataclasses import dataclass

SYNONYMS: dict[str, tuple[str, ...]] = {
    "vehicle": ("transport", "means of transport"),
    "animal": ("creature", "living thing"),
    "plant": ("vegetation", "greenery"),
    "food": ("something to eat", "snack"),
    "tool": ("instrument", "utensil"),
    "furniture": ("home furnishing", "household item"),
    "building": ("structure", "house"),
    "weather": ("climate", "sky"),
    "device": ("electronics", "gadget"),
    "body part": ("part of the body", "organ"),
    "clothing": ("accessory", "something to wear"),
    "medicine": ("health care", "medical"),
    "road": ("street", "on the road"),
    "rails": ("rail", "on rails"),
    "water": ("sea", "in the water"),
    "air": ("sky", "in the air"),
    "space": ("outer space", "the sky"),
    "bedroom": ("room for sleeping", "in the bedroom"),
    "kitchen": ("cook's room", "in the kitchen"),
    "writing": ("to write", "write"),
    "opening doors": ("unlocking", "to open a lock"),
    "photos": ("taking pictures", "pictures"),
    "light": ("lighting", "to give light"),
    "telling time": ("time", "to tell the time"),
    "reading": ("to read", "read"),
    "finding the way": ("navigation", "directions"),
    "calling": ("talking", "to call"),
}
"""Minority answers among ten people's."""


@dataclass(frozen=True, slots=True)
class Object:
    """An object and its facts."""

    name: str
    sort: str
    seen: tuple[str, ...]
    """Its names in the icon sets of the pool and of training; a set may lack it."""
    unseen: tuple[str, ...]
    """Its names in the icon sets of the test."""
    place: str = ""
    """Where it moves, lives or stands; "" if that makes no sense."""
    use: str = ""
    """Its purpose; "" if that makes no sense."""
    is_alive: bool = False
    is_electric: bool = False


# Each has four or more drawings for training, and two or more in the test's icon sets.
OBJECTS = (
    Object(
        "car",
        "vehicle",
        (
            "car",
            "car-side",
            "car-hatchback",
            "car-sports",
            "car-estate",
            "car-convertible",
            "car-outline",
            "car-limousine",
        ),
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
        (
            "truck",
            "truck-outline",
            "truck-pickup",
            "truck-moving",
            "truck-delivery",
            "truck-front",
            "truck-flatbed",
        ),
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
        (
            "airplane",
            "plane",
            "airplane-takeoff",
            "airplane-landing",
            "plane-departure",
            "plane-up",
        ),
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
    Object(
        "bug",
        "animal",
        ("bug", "ladybug", "bug-outline"),
        ("bug-fill", "bug-beetle-fill"),
        is_alive=True,
    ),
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
        (
            "flower",
            "flower-tulip",
            "flower-outline",
            "flower-tulip-outline",
            "flower-poppy",
            "flower-pollen",
        ),
        ("flower-fill", "flower-lotus-fill"),
        is_alive=True,
    ),
    Object(
        "cake",
        "food",
        ("cake", "cake-candles", "cake-variant", "cake-layered", "cake-variant-outline"),
        ("cake-fill", "cake-2-fill"),
        place="kitchen",
    ),
    Object(
        "pencil",
        "tool",
        ("pencil", "pencil-outline", "lead-pencil"),
        ("pencil-fill", "pencil-simple-fill"),
        use="writing",
    ),
    Object(
        "key", "tool", ("key", "key-variant", "key-outline"), ("key-fill",), use="opening doors"
    ),
    Object(
        "clock",
        "device",
        (
            "clock",
            "clock-outline",
            "clock-time-two",
            "clock-time-five",
            "clock-time-eight-outline",
            "clock-time-eleven",
        ),
        ("clock-fill", "time-fill"),
        use="telling time",
    ),
    Object(
        "camera",
        "device",
        ("camera", "camera-outline", "camera-retro"),
        ("camera-fill",),
        use="photos",
        is_electric=True,
    ),
    Object(
        "phone",
        "device",
        ("cellphone", "mobile-screen-button", "cellphone-text", "mobile-screen", "mobile"),
        ("device-mobile-fill", "smartphone-fill"),
        use="calling",
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
    Object(
        "bed",
        "furniture",
        ("bed", "bed-king", "bed-empty", "bed-double", "bed-outline", "bed-single", "bed-queen"),
        ("bed-fill", "hotel-bed-fill"),
        place="bedroom",
    ),
    Object(
        "house",
        "building",
        ("home", "house", "home-outline", "home-variant", "house-chimney"),
        ("house-fill", "home-fill"),
    ),
    Object(
        "cloud",
        "weather",
        ("cloud", "cloud-outline", "weather-cloudy"),
        ("cloud-fill", "cloudy-fill"),
    ),
    Object(
        "shirt",
        "clothing",
        ("tshirt-crew", "shirt", "tshirt-crew-outline", "tshirt-v", "tshirt-v-outline"),
        ("t-shirt-fill", "t-shirt-2-fill"),
    ),
    Object(
        "book",
        "tool",
        (
            "book",
            "book-open",
            "book-outline",
            "book-open-variant",
            "book-open-outline",
            "book-open-page-variant",
        ),
        ("book-fill", "book-open-fill"),
        use="reading",
    ),
    Object(
        "map",
        "tool",
        ("map", "map-outline", "map-legend"),
        ("map-trifold-fill", "map-fill"),
        use="finding the way",
    ),
    Object(
        "hand",
        "body part",
        (
            "hand-back-right",
            "hand",
            "hand-back-left",
            "hand-back-right-outline",
            "hand-front-right",
            "hand-front-left",
        ),
        ("hand-fill", "hand-palm-fill"),
        is_alive=True,
    ),
    Object(
        "thermometer",
        "medicine",
        ("thermometer", "thermometer-low", "thermometer-high", "thermometer-lines"),
        ("thermometer-fill", "temp-hot-fill"),
    ),
)
