import shutil

from services.engines.gpus import Gpu, driver_fault, has_driver, newest_cuda, visible_gpus
from services.engines.room import room_for
from services.engines.settings import EngineSettings
from tests.driver import install_broken_driver, install_driver

GIB = 2**30


def test_the_driver_reports_each_gpu(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    install_driver(monkeypatch, tmp_path, 48, (10, 80), name="NVIDIA H100, SXM")
    assert visible_gpus() == [
        Gpu("NVIDIA H100, SXM", "580.65.06", 48 * GIB, 48 * GIB),
        Gpu("NVIDIA H100, SXM", "580.65.06", 10 * GIB, 80 * GIB),
    ]
    assert newest_cuda() == "13.0"
    assert driver_fault() == ""


def test_hidden_gpus_are_not_used(monkeypatch, tmp_path):
    install_driver(monkeypatch, tmp_path, 48)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []


def test_a_gpu_without_memory_of_its_own_has_the_machines(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    install_driver(monkeypatch, tmp_path)
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA GB10, 580.95.05, [N/A], [N/A]'\n")
    (gpu,) = visible_gpus()
    assert 0 < gpu.free < gpu.total


def test_a_driver_that_fails_says_why(monkeypatch, tmp_path):
    message = "Failed to initialize NVML: Driver/library version mismatch"
    install_broken_driver(monkeypatch, tmp_path, message)
    assert driver_fault() == message
    assert visible_gpus() == []


def test_a_machine_without_a_driver(monkeypatch, tmp_path):
    (tmp_path / "sh").symlink_to(shutil.which("sh"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not has_driver()
    assert visible_gpus() == []
    assert (driver_fault(), newest_cuda()) == ("", "")


def test_room_is_the_smallest_of_the_gpus_that_share_a_model(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    install_driver(monkeypatch, tmp_path / "bin", (40, 48), (10, 48))
    share = EngineSettings(engine="vllm", memory_share=0.4)
    one = room_for(tmp_path, share)
    assert (one.device, one.free, one.needed) == ("GPU", 40 * GIB, int(0.4 * 48 * GIB))
    both = EngineSettings(engine="vllm", memory_share=0.4, tensor_parallel=2)
    assert not room_for(tmp_path, both).fits
