"""Gate of a swap in place, and the service's estimate of its pace."""

import asyncio
from dataclasses import replace

from protos.mpa.v1 import student_pb2, types_pb2
from services.core.contract import Contract
from services.rpc.images import ImageReceiver
from services.rpc.load_shedding import LoadShedder
from services.student.manifest import Origin
from services.student.plan import SwapWay
from services.student.servicers import StudentServicer
from services.student.slot import SlotState
from services.student.student import HostedStudent
from tests.pictures import png
from tests.serving import fake_checkpoint, fake_student_settings
from tests.waiting import until


async def test_a_request_that_waits_for_a_swap_does_not_count_as_under_way(tmp_path):
    settings = fake_student_settings(tmp_path, skill=0.5, latency_s=0.5)
    student = HostedStudent(replace(settings, swap_way=SwapWay.IN_PLACE))
    shedder = LoadShedder()
    await student.start()
    name = student.store.add(fake_checkpoint(tmp_path / "other", skill=0.9), Origin(), Contract())
    servicer = StudentServicer(lambda: student, ImageReceiver(), shedder)

    def ask(number):
        request = student_pb2.AnswerRequest(
            image=types_pb2.Image(data=png()), question=f"{number}?"
        )
        return asyncio.create_task(servicer.Answer(request))

    first = ask(0)
    await until(lambda: student.versions.slot("v1").leases == 1)
    swap = asyncio.create_task(student.versions.promote(name))
    await until(lambda: student.versions.slot("v1").state is SlotState.DRAINING)
    waiting = [ask(number) for number in range(1, 20)]
    await asyncio.sleep(0)
    assert shedder.in_flight == 1
    assert (await first).version == "v1"
    await swap
    assert {reply.version for reply in await asyncio.gather(*waiting)} == {name}
    await student.close()
