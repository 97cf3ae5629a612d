"""LLaVA's documented form; ShareGPT as LLaMA-Factory reads it by its dataset_info.json."""

import json

from PIL import Image

from services.core.tasks import answer_prompt
from tests.orchestrator.exports.conftest import sha256


def check(folder, image, turns, parity_set):
    """The key of a sample, whose image opens, and whose turns equal the parity set's."""
    path = folder / image
    with Image.open(path) as opened:
        assert path.suffix == {"JPEG": ".jpg", "PNG": ".png"}[str(opened.format)]
    human, gpt = turns
    assert (human["from"], gpt["from"]) == ("human", "gpt")
    assert human["value"].count("<image>") == 1
    prompts = {
        answer_prompt(question): (digest, question)
        for digest, question in parity_set
        if digest == sha256(path.read_bytes())
    }
    key = prompts[human["value"].removeprefix("<image>\n")]
    assert gpt["value"] == parity_set[key]["answer"]
    return key


def test_llava(export, parity_set):
    folder = export("llava")
    items = json.loads((folder / "llava.json").read_text())
    assert all(set(item) == {"id", "image", "conversations"} for item in items)
    assert len({item["id"] for item in items}) == len(items)
    assert {
        check(folder, item["image"], item["conversations"], parity_set) for item in items
    } == set(parity_set)


def test_sharegpt(export, parity_set):
    folder = export("sharegpt")
    (info,) = json.loads((folder / "dataset_info.json").read_text()).values()
    assert info["formatting"] == "sharegpt"
    items = json.loads((folder / info["file_name"]).read_text())
    messages, images = info["columns"]["messages"], info["columns"]["images"]
    assert all(len(item[images]) == 1 for item in items)
    assert {check(folder, item[images][0], item[messages], parity_set) for item in items} == set(
        parity_set
    )


def test_an_image_is_written_once_for_all_of_its_questions(export, parity_set):
    images = [path for path in (export("llava") / "images").rglob("*") if path.is_file()]
    assert len(images) == len({digest for digest, _ in parity_set}) < len(parity_set)
