import pytest

from services.orchestrator.doctor.devices import find_devices
from services.orchestrator.doctor.finding import Verdict
from services.orchestrator.doctor.libraries import Torch
from tests.driver import install_broken_driver, install_driver

CUDA_13 = Torch("2.13.0+cu130", "13.0", 1, "")
OLD_DRIVER = "The NVIDIA driver on your system is too old (found version 12020)."


@pytest.fixture(autouse=True)
def _all_gpus_are_visible(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def faults(torch):
    found = [one for one in find_devices(torch) if one.verdict is Verdict.FAULT]
    return {one.subject: f"{one.found} -> {one.advice}" for one in found}


def by_subject(torch):
    return {finding.subject: finding for finding in find_devices(torch)}


def test_a_gpu_that_torch_sees_is_ready(monkeypatch, tmp_path):
    install_driver(monkeypatch, tmp_path, 48, 48)
    found = by_subject(CUDA_13)
    assert found["driver"].found == "580.65.06, CUDA up to 13.0"
    assert found["GPU 1"].found == "NVIDIA RTX A6000, 48.0 of 48.0 GiB free"
    assert found["torch"].verdict is Verdict.OK


def test_a_torch_without_cuda_names_the_wheel(monkeypatch, tmp_path):
    install_driver(monkeypatch, tmp_path, 48)
    built = Torch("2.13.0+cpu", "", 0, "Torch not compiled with CUDA enabled")
    assert "take the wheel with CUDA: pip uninstall torch" in faults(built)["torch"]


def test_a_driver_too_old_names_the_driver_and_the_wheel(monkeypatch, tmp_path):
    install_driver(monkeypatch, tmp_path, 48, driver="535.183.01", cuda="12.2")
    said = faults(Torch("2.13.0+cu130", "13.0", 0, OLD_DRIVER))["torch"]
    assert "the driver 535.183.01 supports CUDA up to 12.2" in said
    assert "update the driver (580.65 or newer), or install torch's wheel for CUDA 12" in said


def test_a_torch_that_sees_no_gpu_says_why(monkeypatch, tmp_path):
    install_driver(monkeypatch, tmp_path, 48)
    said = faults(Torch("2.13.0+cu130", "13.0", 0, "CUDA unknown error"))["torch"]
    assert "sees no GPU: CUDA unknown error" in said


def test_a_torch_that_is_broken_is_not_taken_for_a_cpu_build(monkeypatch, tmp_path):
    install_driver(monkeypatch, tmp_path, 48)
    said = faults(Torch("2.13.0", "", 0, "import torch failed"))["torch"]
    assert "import torch failed" in said
    assert "wheel" not in said


def test_a_broken_driver_repeats_its_message(monkeypatch, tmp_path):
    install_broken_driver(monkeypatch, tmp_path, "Driver/library version mismatch")
    assert "nvidia-smi fails: Driver/library version mismatch" in faults(None)["driver"]


def test_a_gpu_in_use_is_a_warning(monkeypatch, tmp_path):
    install_driver(monkeypatch, tmp_path, (20, 48))
    gpu = by_subject(CUDA_13)["GPU 0"]
    assert gpu.verdict is Verdict.WARNING
    assert "another process holds the rest" in gpu.advice


def test_hidden_gpus_are_a_fault(monkeypatch, tmp_path):
    install_driver(monkeypatch, tmp_path, 48)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "CUDA_VISIBLE_DEVICES is ''" in faults(CUDA_13)["driver"]


def test_gpus_without_the_drivers_tool_are_a_fault(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "NVIDIA_DRIVER_CAPABILITIES" in faults(CUDA_13)["driver"]


def test_a_machine_without_a_gpu_has_no_fault(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert faults(Torch("2.13.0", "13.0", 0, "no driver")) == {}
    assert faults(None) == {}
