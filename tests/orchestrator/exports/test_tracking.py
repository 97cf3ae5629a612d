"""Runs in MLflow's SQLite store."""

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from services.core.errors import InvalidInput
from services.orchestrator.cli.main import app
from services.orchestrator.exports.tracking import track
from services.orchestrator.run.run import read_run
from services.orchestrator.run.summary import summarise

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture
def uri(place):
    return f"sqlite:///{place / 'mlflow.db'}"


def tracked(run, uri, experiment="mpa"):
    given = ["runs", "track", str(run), "--to", uri, "--experiment", experiment]
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 0, result.output
    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    return client, client.search_runs([found.experiment_id])


def test_a_run_has_its_settings_figures_and_files(run, uri, place, tmp_path):
    client, (found,) = tracked(run, uri)
    with read_run(run) as opened:
        summary = summarise(opened.ledger)
        identity = opened.id
    assert found.data.tags["mpa.run"] == identity
    assert found.data.params["task"] == summary.settings.task
    assert found.data.params["recipe.name"] == summary.recipe
    (first,) = client.get_metric_history(found.info.run_id, "gap")
    assert (first.value, first.step) == (summary.rounds[0].gap, 1)
    assert found.data.metrics["annotations"] == summary.annotations
    stored = client.download_artifacts(found.info.run_id, "summary.json", str(tmp_path))
    assert json.loads(Path(stored).read_text())["run"] == identity
    assert (place / "mlartifacts").is_dir(), "next to the database"


def test_the_same_run_again_replaces_it(run, uri):
    _, (before,) = tracked(run, uri)
    _, (after,) = tracked(run, uri)
    assert before.info.run_id != after.info.run_id


def test_a_store_that_cannot_be_written_is_named(run):
    with read_run(run) as opened, pytest.raises(InvalidInput, match=r"at nonsense://here \("):
        track(opened, "nonsense://here", "mpa")
