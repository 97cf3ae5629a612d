"""Runs in MLflow: settings as parameters, figures by round as metrics, the summary as an artifact.

A run is found again by its id in a tag, and replaced: MLflow's parameters can't be changed.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from services.core import extras
from services.core.errors import InvalidInput
from services.orchestrator.run.run import PARITY_SET, Run
from services.orchestrator.run.summary import Summary, summarise

OUR_ID = "mpa.run"
LONGEST_PARAMETER = 500
MOST_AT_ONCE = 100
"""Parameters that MLflow takes in one call; it takes more metrics."""
_ENDED = {"promoted": "FINISHED", "unfinished": "RUNNING"}
_LOCAL = "sqlite:///"


def track(run: Run, uri: str, experiment: str) -> str:
    """Write a run, finished or under way, to the MLflow at `uri`; return its id there.

    Raises InvalidInput: MLflow is not installed, or can't be reached at `uri`.
    """
    extras.require("mlflow", "mlflow", "the tracking of runs")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        return _write(MlflowClient(uri), run, summarise(run.ledger), uri, experiment)
    except (MlflowException, ImportError, OSError) as error:
        said = str(error).splitlines()[0][:300]
        raise InvalidInput(
            f"the run can't be written to MLflow at {uri} ({said}): "
            "give an address such as sqlite:///mlflow.db",
            field="uri",
        ) from error


def _write(client: Any, run: Run, summary: Summary, uri: str, experiment: str) -> str:
    where = _experiment(client, uri, experiment)
    for earlier in client.search_runs([where], f"tags.`{OUR_ID}` = '{run.id}'"):
        client.delete_run(earlier.info.run_id)
    name = run.folder.resolve().name
    made = client.create_run(where, tags={OUR_ID: run.id}, run_name=name)
    id: str = made.info.run_id
    _log(client, id, summary)
    text = json.dumps(asdict(summary), indent=2, ensure_ascii=False)
    client.log_text(id, text, "summary.json")
    if (parity_set := run.folder / PARITY_SET).is_file():
        client.log_artifact(id, str(parity_set))
    client.set_terminated(id, _ENDED.get(summary.outcome, "FINISHED"))
    return id


def _log(client: Any, id: str, summary: Summary) -> None:
    from mlflow.entities import Metric, Param, RunTag

    now_ms = int(time.time() * 1000)
    metrics = [Metric(key, value, now_ms, step) for key, value, step in _metrics(summary)]
    parameters = [Param(key, value) for key, value in _parameters(summary)]
    note = RunTag("mlflow.note.content", summary.reason)
    for start in range(0, len(parameters), MOST_AT_ONCE):
        client.log_batch(id, params=parameters[start : start + MOST_AT_ONCE])
    for start in range(0, len(metrics), MOST_AT_ONCE):
        client.log_batch(id, metrics=metrics[start : start + MOST_AT_ONCE])
    client.log_batch(id, tags=[note, RunTag("mpa.outcome", summary.outcome)])


def _experiment(client: Any, uri: str, name: str) -> str:
    """Id of an experiment. Artifacts of a new one are next to a local database."""
    if (found := client.get_experiment_by_name(name)) is not None:
        return str(found.experiment_id)
    place = None
    if uri.startswith(_LOCAL):
        database = Path(uri.removeprefix(_LOCAL)).absolute()
        place = (database.parent / "mlartifacts" / name).as_uri()
    return str(client.create_experiment(name, artifact_location=place))


def _parameters(summary: Summary) -> Iterator[tuple[str, str]]:
    yield "version_before", summary.version.before
    yield "version_after", summary.version.after
    yield from _flat("", asdict(summary.settings))


def _flat(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{prefix}{key}.", value)
        else:
            yield prefix + key, str(value)[:LONGEST_PARAMETER]


def _metrics(summary: Summary) -> Iterator[tuple[str, float, int]]:
    """Name, value and step of each metric: the step of a round's is its number."""
    for each in summary.rounds:
        values = asdict(each) | {"gap_rate": each.gap_rate}
        for name in (
            "records",
            "gap",
            "gap_rate",
            "parity_set",
            "accuracy_before",
            "accuracy_after",
            "fixed",
            "broken",
        ):
            if values[name] is not None:
                yield name, float(values[name]), each.number
    last = len(summary.rounds)
    measured = {"zero_shot": summary.zero_shot, "aligned": summary.aligned}
    for name, found in (measured | {"teacher": summary.teacher}).items():
        if found is not None:
            yield f"accuracy_{name}", found.accuracy, last
    yield "annotations", float(summary.annotations), last
    yield "teacher_calls", float(summary.teacher_calls), last
    for role, usage in summary.usage.items():
        yield f"tokens_{role}", float(usage.prompt_tokens + usage.completion_tokens), last
        yield f"cost_usd_{role}", usage.cost_usd, last
    for stage, seconds in summary.seconds.items():
        yield f"seconds_{stage}", seconds, last
