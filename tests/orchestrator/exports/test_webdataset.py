"""Exported shards, read by the webdataset library."""

from rich.console import Console

from services.orchestrator.exports import webdataset
from services.orchestrator.exports.samples import USABLE, ExportedSamples
from services.orchestrator.run.progress import Progress
from services.orchestrator.run.run import read_run


def read(shards):
    import webdataset as wds

    return list(
        wds.WebDataset([str(path) for path in sorted(shards)], shardshuffle=False).decode("pil")
    )


def test_every_sample_has_its_image_and_its_provenance(export, parity_set):
    found = read(export("webdataset").glob("*.tar"))
    assert {
        (sample["json"]["image_sha256"], sample["json"]["question"]) for sample in found
    } == set(parity_set)
    for sample in found:
        (image,) = (sample[suffix] for suffix in ("png", "jpg") if suffix in sample)
        assert image.size in {(16, 16), (20, 16)}
        assert sample["__key__"] == f"{sample['json']['image_sha256']}-{sample['json']['number']}"
        assert sample["json"]["in_parity_set"]


def test_shards_hold_whole_samples(run, records, tmp_path):
    progress = Progress(Console(quiet=True))
    with read_run(run) as opened, progress.stage("export", "records", 0) as meter:
        count = webdataset.write(
            ExportedSamples(opened, USABLE, meter), tmp_path / "out", shard_bytes=20_000
        )
    shards = list((tmp_path / "out").glob("*.tar"))
    assert len(shards) > 3
    assert len(read(shards)) == count == sum(not row["rejection"] for row in records)
