"""Evaluations as the tests plan them."""

from services.orchestrator.scoring.conditions import plan


def planned(datasets, task="vqa", asked="student", **options):
    return plan(
        datasets,
        task,
        asked,
        **{"metric": "", "template": "", "limit": 0, "pool": "", "force": False, **options},
    )
