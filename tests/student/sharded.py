"""Rank of several sharded trainings, one after the other: a pair of processes starts once.

torchrun --nproc-per-node 2 tests/student/sharded.py JOB...
"""

import sys
from pathlib import Path

from accelerate.state import AcceleratorState

from services.student.ranks import leave
from services.student.training import learn

if __name__ == "__main__":
    trainers = []
    for job in sys.argv[1:]:
        trainer = learn(Path(job))
        assert trainer is not None
        # Between micro batches, too, a process holds its share of the gradients alone.
        assert trainer.accelerator.gradient_state.plugin_kwargs["sync_each_batch"]
        assert not trainer.optimizer.state, "freed before the weights are gathered"
        trainers.append(trainer)  # held until `leave`, as the program does
        AcceleratorState._reset_state(reset_partial_state=True)
    leave()
