"""Follows the newest training of a student until it ends.

python examples/follow_training.py localhost:50052
"""

import asyncio
import sys

from services.rpc.client import StudentClient

EVERY_S = 2.0


async def follow(address: str) -> None:
    async with StudentClient(address) as student:
        trainings = await student.operations()
        if not trainings:
            sys.exit(f"the student at {address} has not trained yet: mpa-orch align trains it")
        state = trainings[-1]
        while not state.has_ended:
            print(f"{state.phase}: step {state.step} of {state.total_steps}, loss {state.loss:.3f}")
            await asyncio.sleep(EVERY_S)
            state = await student.training(state.operation)
    print(f"failed: {state.error}" if state.error else f"trained {state.version}")


if __name__ == "__main__":
    asyncio.run(follow(sys.argv[1]))
