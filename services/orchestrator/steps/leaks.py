"""Leaks: images of evaluation sets that are in the pool, too, by content and by likeness.

They are never annotated or trained on. Each set (--eval, --leak-check) is read once; the
likenesses of its images stay in the ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path

from services.engines.images import sha256
from services.orchestrator.datasets.dataset import Dataset, images_of_dataset, open_dataset
from services.orchestrator.images.leaks import DISTANCE, Leaks
from services.orchestrator.images.opening import open_images
from services.orchestrator.images.reading import Accepted, RefusedImage, read_images
from services.orchestrator.images.source import ImageItem
from services.orchestrator.images.store import Store, is_url, open_store
from services.orchestrator.run.ledger.schema import LEAK
from services.orchestrator.run.progress import Progress
from services.orchestrator.run.run import Run

TEXTS = (".json", ".jsonl", ".csv", ".tsv", ".txt")
"""Suffixes of labelled sets; other files hold images."""


Images = tuple[Store, Generator[ImageItem]]


def leaks_of(run: Run) -> Leaks:
    chosen = run.settings.near_duplicates
    known = run.ledger.evaluation_images()
    images = (
        (f"{path} of {Path(of_set).name}", content, likeness)
        for of_set, path, content, likeness in known
    )
    return Leaks(images, DISTANCE if chosen is None else chosen)


async def look_for_leaks(
    run: Run, labelled: Path | None, progress: Progress, datasets: Sequence[Dataset] = ()
) -> None:
    """Reads every new evaluation set, and rejects its images among those that the run has already.

    Guard sets are read, too. `datasets`: further sets that are open already. Training can't be
    undone: leaked images that were trained on are counted in the summary.
    """
    named = [*([str(labelled.absolute())] if labelled else []), *run.state.guards.paths]
    sets: dict[str, Callable[[], Images]] = {
        of_set: partial(_images_of, of_set) for of_set in (*named, *run.settings.leak_check)
    }
    states = {of_set: _state(of_set) for of_set in sets}
    for dataset in datasets:
        name = str(dataset.path.absolute()) + (f" ({dataset.split})" if dataset.split else "")
        sets[name] = partial(_images_in, dataset)
        states[name] = sha256(dataset.path.read_bytes())
    new = {
        of_set: state for of_set, state in states.items() if run.state.leaks_state(of_set) != state
    }
    for of_set, state in new.items():
        rows = await _read(of_set, sets[of_set](), progress)
        with run.ledger.at_once():
            run.ledger.set_evaluation_images(of_set, rows)
            run.state.set_leaks_state(of_set, state)
    if new:
        _reject_known(run)


async def _read(of_set: str, images: Images, progress: Progress) -> list[tuple[str, str, bytes]]:
    """Path, sha256 and likeness of each image."""
    store, items = images
    rows = []
    refused = []
    with progress.stage("leaks", "images", None) as meter:
        async with aclosing(read_images(store, items)) as reading:
            async for found in reading:
                meter.advance()
                if isinstance(found, Accepted):
                    rows.append((found.path, found.picture.sha256, found.likeness))
                elif isinstance(found, RefusedImage):
                    refused.append(found.detail)
    if refused:
        progress.note(
            f"leaks: {len(refused):,} images of {of_set} can't be read and aren't looked for "
            f"(such as: {refused[0]})"
        )
    return rows


def _images_of(of_set: str) -> Images:
    if not is_url(of_set) and of_set.endswith(TEXTS):
        return _images_in(open_dataset(Path(of_set)))
    source = open_images(of_set)
    return source.store, (item for item in source.walk(lambda _: False))


def _images_in(dataset: Dataset) -> Images:
    return open_store(str(dataset.path.absolute().parent)), images_of_dataset(dataset)


def _state(of_set: str) -> str:
    """State of the set: it changes with a file of this machine; any other set is read once."""
    path = Path(of_set)
    return (
        sha256(path.read_bytes())
        if not is_url(of_set) and path.is_file() and path.suffix in TEXTS
        else "read"
    )


def _reject_known(run: Run) -> None:
    leaks = leaks_of(run)
    found = [
        (path, which)
        for path, content, likeness in run.ledger.likenesses()
        if (which := leaks.find(content, likeness))
    ]
    if run.state.of_round(1).training_begun:
        run.state.leaked_into_training = len(found)
        return
    with run.ledger.at_once():
        for path, which in found:
            run.ledger.reject_image(path, LEAK, which)
