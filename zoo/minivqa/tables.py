"""Real numbers for charts: columns of tables that vega_datasets ships, split by table."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from functools import cache

from zoo.minivqa.parts import Split
from zoo.minivqa.sources import installed

LARGEST = 99


@dataclass(frozen=True, slots=True)
class Column:
    """One numeric column of a table."""

    table: str
    name: str


COLUMNS = Split(
    seen=(
        *(
            Column("cars.json", name)
            for name in ("Miles_per_Gallon", "Horsepower", "Acceleration", "Displacement")
        ),
        *(
            Column("seattle-weather.csv", name)
            for name in ("precipitation", "temp_max", "temp_min", "wind")
        ),
        *(Column("crimea.json", name) for name in ("wounds", "other", "disease")),
        Column("airports.csv", "latitude"),
        Column("iowa-electricity.csv", "net_generation"),
        Column("stocks.csv", "price"),
    ),
    unseen=(
        Column("barley.json", "yield"),
        *(Column("wheat.json", name) for name in ("wheat", "wages")),
        *(Column("driving.json", name) for name in ("miles", "gas")),
        Column("sf-temps.csv", "temp"),
        Column("us-employment.csv", "construction"),
    ),
)


@cache
def values(column: Column) -> tuple[int, ...]:
    """Whole numbers from 1 to LARGEST: the column's, in the largest decimal unit that fits."""
    path = installed(f"vega_datasets/_data/{column.table}")
    with path.open(encoding="utf-8", newline="") as file:
        rows = json.load(file) if path.suffix == ".json" else list(csv.DictReader(file))
    found = [abs(float(row[column.name])) for row in rows if row.get(column.name) not in (None, "")]
    unit = 1.0
    while max(found) / unit > LARGEST + 0.49:
        unit *= 10
    while max(found) / unit <= LARGEST / 10:
        unit /= 10
    return tuple(number for number in (round(value / unit) for value in found) if number >= 1)
