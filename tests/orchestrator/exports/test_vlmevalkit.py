"""Exported TSV, read as VLMEvalKit does: by pandas, with images that other rows refer to."""

import ast
import base64

import pandas

from tests.orchestrator.exports.conftest import sha256


def test_every_row_has_its_image_in_full_or_by_the_index_of_another(export, parity_set):
    table = pandas.read_csv(export("vlmevalkit"), sep="\t")
    images = dict(zip(table["index"].astype(str), table["image"].astype(str), strict=True))
    assert len(images) == len(table) == len(parity_set)
    found = {}
    listed = [ast.literal_eval(answers) for answers in table["answers"]]
    assert listed == [[answer] * 10 for answer in table["answer"]]
    for row in table.to_dict("records"):
        image = images[str(row["index"])]
        image = image if len(image) > 64 else images[image]
        found[sha256(base64.b64decode(image)), row["question"]] = (row["answer"], row["category"])
    assert found == {key: (line["answer"], line["cell"]) for key, line in parity_set.items()}
    assert any(len(image) <= 64 for image in images.values())
