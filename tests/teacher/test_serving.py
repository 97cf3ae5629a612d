"""Serving of a teacher: every setting that changes a reply changes the hash; the price."""

import json
from dataclasses import replace

import pytest

from services.engines.checkpoint import processor_sha256
from services.engines.openai.settings import IMAGE_DETAILS
from services.engines.serving import of_checkpoint
from services.teacher.serving import of_provider
from services.teacher.settings import TeacherSettings

PROVIDER = {
    "MPA_TEACHER_ENGINE": "openai",
    "MPA_TEACHER_MODEL": "gpt-4o-2024-11-20",
    "OPENAI_API_KEY": "key",
}


def at_provider(**variables):
    return of_provider(TeacherSettings.from_env({**PROVIDER, **variables}))


def test_the_image_processor_the_precision_and_the_engine_count(tmp_path):
    processor = tmp_path / "preprocessor_config.json"
    found = set()
    for engine, dtype, pixels in (
        ("transformers", "auto", 1000),
        ("transformers", "auto", 2000),
        ("transformers", "float32", 2000),
        ("vllm", "float32", 2000),
    ):
        processor.write_text(json.dumps({"max_pixels": pixels}))
        variables = {
            "MPA_TEACHER_MODEL": str(tmp_path),
            "MPA_TEACHER_ENGINE": engine,
            "MPA_TEACHER_DTYPE": dtype,
        }
        serving = of_checkpoint(tmp_path, TeacherSettings.from_env(variables).engine, "", "")
        assert (serving.engine, serving.tariff) == (engine, None)
        found.add(serving.sha256)
    assert len(found) == 4


def test_replies_drawn_by_another_generator_are_not_mixed_with_these(tmp_path):
    """Releases up to 0.2 drew transformers' samples from torch's own generator."""
    settings = TeacherSettings.from_env({"MPA_TEACHER_MODEL": str(tmp_path)}).engine
    conditions = of_checkpoint(tmp_path, settings, "", "").conditions
    assert conditions == ("auto", processor_sha256(tmp_path), "splitmix64")
    vllm = replace(settings, engine="vllm")
    assert of_checkpoint(tmp_path, vllm, "", "").conditions == conditions[:2]


def test_image_detail_counts_at_a_provider():
    found = {at_provider(MPA_TEACHER_IMAGE_DETAIL=detail).sha256 for detail in IMAGE_DETAILS}
    assert len(found) == len(IMAGE_DETAILS)


@pytest.mark.parametrize(
    ("model", "detail", "image_tokens"),
    [
        ("gpt-4o-2024-11-20", "auto", 1445),
        ("gpt-4o", "low", 85),
        ("gpt-4.1", "high", 1445),
        ("gpt-4o-mini", "auto", 0),
    ],
)
def test_a_tariff_is_the_price_table_s_with_the_most_that_an_image_becomes(
    model, detail, image_tokens
):
    tariff = at_provider(MPA_TEACHER_MODEL=model, MPA_TEACHER_IMAGE_DETAIL=detail).tariff
    assert tariff.image_tokens == image_tokens
    assert tariff.output_usd == 4 * tariff.input_usd


def test_a_model_without_a_price_has_no_tariff_and_a_table_gives_it_one(tmp_path):
    assert at_provider(MPA_TEACHER_MODEL="my-own").tariff is None
    (tmp_path / "prices.json").write_text('{"my-own": {"input": 1, "output": 2}}')
    priced = at_provider(
        MPA_TEACHER_MODEL="my-own", MPA_TEACHER_PRICES=str(tmp_path / "prices.json")
    ).tariff
    assert (priced.input_usd, priced.output_usd, priced.image_tokens) == (1, 2, 0)
