"""Processes of a training that starts again."""

import multiprocessing
import signal

import pytest

pytestmark = pytest.mark.slow


def test_workers_end_before_a_process_becomes_another_program():
    """They are copies of it, so a GPU's memory would stay taken as long as they live."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    from services.student.ranks import end_workers

    numbers = TensorDataset(torch.arange(100))
    before = signal.getsignal(signal.SIGCHLD)
    of_others = set(multiprocessing.active_children())  # engines of earlier tests, ended elsewhere
    try:
        iterator = iter(DataLoader(numbers, num_workers=2, persistent_workers=True))
        next(iterator)
        assert len(set(multiprocessing.active_children()) - of_others) >= 2
        end_workers()
        assert set(multiprocessing.active_children()) <= of_others
    finally:
        signal.signal(signal.SIGCHLD, before)
