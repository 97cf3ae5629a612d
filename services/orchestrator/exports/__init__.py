"""A run's records for other tools: a module per format with `write(samples, target)`.

export.py    writes the chosen records as a whole or not at all
samples.py   the chosen records, one after another
pictures.py  images as files
tables.py    rows as Parquet files; json_list.py: items as a JSON list
tracking.py  figures of a run in MLflow
parquet.py, llava.py, sharegpt.py, chat.py, hf.py, webdataset.py, vlmevalkit.py, authors.py,
fiftyone.py, labelstudio.py
reviewed_tasks.py  what people decided in Label Studio; imported_reviews.py: as a run's reviews
model_card.py   a version's card (card_results.py: gains, guard sets; card_usage.py: how to
                ask it; markdown.py: foreign text)
model_folder.py a version's files as a model folder of the hub
"""

from __future__ import annotations

from enum import StrEnum


class ModelFormat(StrEnum):
    """Formats of a version for other tools."""

    HF = "hf"


class ExportFormat(StrEnum):
    """Formats; each value is the name of a module."""

    PARQUET = "parquet"
    LLAVA = "llava"
    SHAREGPT = "sharegpt"
    CHAT = "chat"
    HF = "hf"
    WEBDATASET = "webdataset"
    VLMEVALKIT = "vlmevalkit"
    AUTHORS = "authors"
    FIFTYONE = "fiftyone"
    LABELSTUDIO = "labelstudio"
