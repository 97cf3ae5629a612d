"""Division of an effective batch, and refused settings."""

import pytest

from services.core.errors import InvalidInput
from services.environment import Environment
from services.student.execution import AUTO, Execution


@pytest.mark.parametrize(
    ("execution", "divided"),
    [
        (Execution(), (16, 1)),
        (Execution(micro_batch=4), (4, 4)),
        (Execution(micro_batch=64), (16, 1)),
        (Execution(processes=2), (8, 1)),
        (Execution(micro_batch=2, processes=4), (2, 2)),
    ],
)
def test_micro_batch_times_accumulation_times_processes_is_the_effective_batch(execution, divided):
    micro_batch, accumulation = execution.divide(16)
    assert (micro_batch, accumulation) == divided
    assert micro_batch * accumulation * execution.processes == 16


@pytest.mark.parametrize(
    ("execution", "batch_size", "said"),
    [
        (
            Execution(processes=3),
            16,
            "batch_size is 16: that can't be divided among 3 training processes",
        ),
        (
            Execution(micro_batch=4),
            6,
            "batch_size is 6, 6 for each training process: .* micro batches of 4",
        ),
    ],
)
def test_a_batch_that_leaves_a_rest_is_refused(execution, batch_size, said):
    with pytest.raises(InvalidInput, match=said):
        execution.divide(batch_size)


def test_each_process_needs_a_gpu_unless_there_is_none():
    execution = Execution(processes=2)
    with pytest.raises(InvalidInput, match="PROCESSES is 2, but training may use only 1 devices"):
        execution.require_devices(1)
    for found in (0, 2, 3):
        execution.require_devices(found)


def test_settings_come_from_the_environment():
    variables = {
        "MPA_STUDENT_TRAINING_MICRO_BATCH": "2",
        "MPA_STUDENT_TRAINING_PROCESSES": "2",
        "MPA_STUDENT_TRAINING_SHARDED": "1",
    }
    execution = Execution.from_environment(Environment("MPA_STUDENT_", variables))
    assert execution == Execution(micro_batch=2, processes=2, sharded=True)


def test_offload_takes_a_launcher_and_fsdp_even_for_one_process():
    variables = {"MPA_STUDENT_TRAINING_OFFLOAD": "1"}
    execution = Execution.from_environment(Environment("MPA_STUDENT_", variables))
    assert execution == Execution(micro_batch=AUTO, offload=True)
    assert execution.needs_launcher
    assert execution.uses_fsdp
    assert not Execution().needs_launcher


@pytest.mark.parametrize("given", [{}, {"MPA_STUDENT_TRAINING_MICRO_BATCH": "auto"}])
def test_the_micro_batch_is_chosen_by_memory_unless_it_is_set(given):
    execution = Execution.from_environment(Environment("MPA_STUDENT_", given))
    assert execution.micro_batch == AUTO
    assert execution.divide(16) == (16, 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PRECISION", "fp8"),
        ("PROCESSES", "0"),
        ("MICRO_BATCH", "-1"),
        ("MICRO_BATCH", "most"),
        ("SHARDED", "1"),
    ],
)
def test_a_wrong_setting_is_named_with_its_variable(name, value):
    with pytest.raises(InvalidInput, match=f"MPA_STUDENT_TRAINING_{name} is"):
        Execution.from_environment(
            Environment("MPA_STUDENT_", {f"MPA_STUDENT_TRAINING_{name}": value})
        )
