"""The tables of a ledger, and the columns that each schema added to them."""

from __future__ import annotations

SCHEMA_VERSION = 5
PROVENANCE = (
    "finish_reason TEXT NOT NULL DEFAULT ''",
    "system_fingerprint TEXT NOT NULL DEFAULT ''",
    "prompt_tokens INTEGER NOT NULL DEFAULT 0",
    "completion_tokens INTEGER NOT NULL DEFAULT 0",
    "cached_prompt_tokens INTEGER NOT NULL DEFAULT 0",
    "cost_usd REAL NOT NULL DEFAULT 0",
)
"""Schema 2: provenance of each call, in annotations and answers."""
CACHED = "cached INTEGER NOT NULL DEFAULT 0"
"""Schema 3: 1 if the reply came from the teacher cache, so that this run's bill leaves it out."""
LIKENESS = "likeness BLOB NOT NULL DEFAULT x''"
"""Schema 3: likeness of the image (images/likeness.py); empty in rows of older programs."""
POOL, PRODUCTION = "pool", "production"
LEAK = "leak"
"""Rejection of an image that a set has which the run is measured on; it may come late."""
ORIGIN = f"origin TEXT NOT NULL DEFAULT '{POOL}'"
"""Schema 3: whether the teacher or a user wrote the question."""
SHELF = "shelf INTEGER NOT NULL DEFAULT 0"
"""Schema 4: how many times IMAGES_ON_A_SHELF images had come before this one.

Rows are ordered by shelf first. So rows of images in flight together are on neighbouring
pages, however many came before; by the hash alone each would be on another page. Rows of
older programs, and of images outside the run's source, are on shelf 0.
"""
LOGPROB = "logprob REAL"
"""Schema 5: natural logarithm of the probability of the answer; NULL if it was not kept."""
IMAGES_ON_A_SHELF = 512
INDICES = (
    "CREATE UNIQUE INDEX IF NOT EXISTS accepted_images ON images (sha256) WHERE rejection = ''",
    "CREATE INDEX IF NOT EXISTS images_by_content ON images (sha256, shelf)",
    "CREATE INDEX IF NOT EXISTS records_by_cell ON records (round, cell)",
    "CREATE INDEX IF NOT EXISTS rejected_annotations "
    "ON annotations (rejection) WHERE rejection != ''",
    "CREATE INDEX IF NOT EXISTS rejected_images ON images (rejection) WHERE rejection != ''",
    "CREATE INDEX IF NOT EXISTS questions "
    "ON annotations (shelf, image_sha256, number, attempt, question)",
)
"""Indices for `mpa-orch runs show`: the first page of a million records comes at once.

`questions` has a third of the table's bytes, in the table's order: a search for a rare
word reads the index alone.
"""
SCHEMA = f"""
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
-- step: 0 seen, 1 annotated, 2 identified, and so on in later rounds.
-- A duplicate has the sha256 of the image that it repeats, and the rejection 'duplicate';
-- `detail` names that image.
CREATE TABLE IF NOT EXISTS images (
    path TEXT PRIMARY KEY, sha256 TEXT NOT NULL, rejection TEXT NOT NULL, detail TEXT NOT NULL,
    held_out INTEGER NOT NULL, step INTEGER NOT NULL,
    {LIKENESS}, {SHELF}) WITHOUT ROWID;
-- Images of the sets that the run is measured on.
CREATE TABLE IF NOT EXISTS evaluation_images (
    image_set TEXT NOT NULL, path TEXT NOT NULL, sha256 TEXT NOT NULL, likeness BLOB NOT NULL,
    PRIMARY KEY (image_set, path)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS annotations (
    image_sha256 TEXT NOT NULL, number INTEGER NOT NULL, attempt INTEGER NOT NULL,
    text TEXT NOT NULL, question TEXT NOT NULL, answer TEXT NOT NULL, rejection TEXT NOT NULL,
    seed INTEGER NOT NULL, model_fingerprint TEXT NOT NULL, detail TEXT NOT NULL,
    {", ".join(PROVENANCE)}, {CACHED}, {ORIGIN}, {SHELF},
    PRIMARY KEY (shelf, image_sha256, number, attempt)) WITHOUT ROWID;
-- version: the student's version, or the teacher's model fingerprint; of a sample with its
-- number: FINGERPRINT#0. conditions: hash of template and decoding.
CREATE TABLE IF NOT EXISTS answers (
    image_sha256 TEXT NOT NULL, question TEXT NOT NULL, role TEXT NOT NULL,
    version TEXT NOT NULL, answer TEXT NOT NULL, conditions TEXT NOT NULL, step TEXT NOT NULL,
    {", ".join(PROVENANCE)}, {CACHED}, {SHELF}, {LOGPROB},
    PRIMARY KEY (shelf, image_sha256, question, role, version)) WITHOUT ROWID;
-- Schema 5. answer: what the question's sample was trained on in that round; by_epoch: its losses,
-- a JSON list with null where one is not known.
CREATE TABLE IF NOT EXISTS losses (
    shelf INTEGER NOT NULL, image_sha256 TEXT NOT NULL, question TEXT NOT NULL,
    round INTEGER NOT NULL, answer TEXT NOT NULL, by_epoch TEXT NOT NULL,
    PRIMARY KEY (shelf, image_sha256, question, round)) WITHOUT ROWID;
-- student_matcher: "" is the same as matcher, which decided on the teacher's answer.
CREATE TABLE IF NOT EXISTS records (
    image_sha256 TEXT NOT NULL, number INTEGER NOT NULL, cell TEXT NOT NULL, matcher TEXT NOT NULL,
    round INTEGER NOT NULL DEFAULT 1,
    student_matcher TEXT NOT NULL DEFAULT '', {SHELF},
    PRIMARY KEY (shelf, image_sha256, number, round)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS scores (
    question_set TEXT NOT NULL, image_sha256 TEXT NOT NULL, question TEXT NOT NULL,
    role TEXT NOT NULL, version TEXT NOT NULL, kind TEXT NOT NULL, score REAL NOT NULL,
    PRIMARY KEY (question_set, image_sha256, question, role, version)) WITHOUT ROWID;
-- kind: vote or sample; seat: number of the teacher, from 0;
-- agreed of asked opinions match the annotation's answer.
CREATE TABLE IF NOT EXISTS opinions (
    image_sha256 TEXT NOT NULL, question TEXT NOT NULL, answer TEXT NOT NULL,
    seat INTEGER NOT NULL, kind TEXT NOT NULL, agreed INTEGER NOT NULL, asked INTEGER NOT NULL,
    PRIMARY KEY (image_sha256, question, answer, seat, kind)) WITHOUT ROWID;
"""


def shelf_of(image_sha256: str) -> str:
    """SQL for the shelf of an image; `image_sha256` names the column."""
    return f"(SELECT coalesce(min(shelf), 0) FROM images WHERE sha256 = {image_sha256})"
