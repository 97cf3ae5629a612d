"""A run's records for other tools: a module per format, each with `write(samples, target)` that streams them.

export.py chooses the samples (samples.py) and has them written whole or not at all; pictures.py puts their images beside them.
"""

from __future__ import annotations

from enum import StrEnum


class ExportFormat(StrEnum):
    """Also the name of the format's module."""

    PARQUET = "parquet"
    LLAVA = "llava"
    SHAREGPT = "sharegpt"
    CHAT = "chat"
    HF = "hf"
    WEBDATASET = "webdataset"
    VLMEVALKIT = "vlmevalkit"
    AUTHORS = "authors"
