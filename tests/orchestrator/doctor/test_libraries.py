import pytest

from services.orchestrator.doctor.libraries import find_versions, probe_torch, read_constraints


def test_the_read_constraints_are_those_of_the_constraints(tmp_path):
    (tmp_path / "constraints.txt").write_text("# a remark\ntorch===2.13.0\npeft==0.21.2\n")
    assert read_constraints(tmp_path / "constraints.txt") == {"torch": "2.13.0", "peft": "0.21.2"}
    assert read_constraints(tmp_path / "missing.txt") == {}
    assert {"torch", "vllm", "transformers"} <= read_constraints().keys()


def test_this_environment_is_the_tested_one():
    (finding,) = find_versions()
    assert finding.found == "all as tested"


@pytest.mark.slow
def test_torch_reports_its_build():
    torch = probe_torch()
    assert torch.version.startswith(read_constraints()["torch"])
    assert (torch.gpus > 0) == (torch.error == "")
