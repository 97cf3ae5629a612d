"""The teacher process with the openai engine, over gRPC, against a provider beside it."""

import grpc
import psutil
import pytest

from protos.mpa.v1 import teacher_pb2, teacher_pb2_grpc, types_pb2
from services.rpc.status import from_rpc_error
from tests.e2e.processes import serving
from tests.engines.provider import KEY, MODEL, completion, error, providing_beside
from tests.pictures import png
from tests.processes import command_of
from tests.waiting import until_true

pytestmark = pytest.mark.slow
IMAGE = types_pb2.Image(data=png())
ANNOTATE = teacher_pb2.AnnotateRequest(
    image=IMAGE, task="vqa", decoding=types_pb2.Decoding(seed=7, temperature=1.0)
)


def openai_teacher(folder, provider, **settings):
    env = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": provider.url}
    return serving("teacher", folder, engine="openai", model=MODEL, env=env, **settings)


def failure(call, *arguments):
    with pytest.raises(grpc.RpcError) as failed:
        call(*arguments)
    return failed.value.code(), from_rpc_error(failed.value)


def test_it_annotates_and_answers_counts_its_money_and_keeps_its_key(tmp_path):
    with (
        providing_beside() as provider,
        openai_teacher(tmp_path, provider, image_detail="low", retries=0) as teacher,
    ):
        with grpc.insecure_channel(teacher.address) as channel:
            stub = teacher_pb2_grpc.TeacherServiceStub(channel)
            annotated = stub.Annotate(ANNOTATE)
            assert (annotated.question, annotated.answer != "") == ("what is number 7?", True)
            assert annotated.usage.cost_usd == pytest.approx((1000 * 2.5 + 10 * 10) / 1e6)
            assert (annotated.finish_reason, annotated.system_fingerprint) == (
                types_pb2.FINISH_REASON_STOP,
                "fp_a1b2c3",
            )
            asked = teacher_pb2.TeacherServiceAnswerRequest(image=IMAGE, question="what color?")
            provider.script.append(completion("re", "length"))
            assert stub.Answer(asked).finish_reason == types_pb2.FINISH_REASON_LENGTH
            assert stub.Answer(asked).model_fingerprint == annotated.model_fingerprint

            provider.script.append(completion(None, refusal="I can't help with that."))
            assert stub.Annotate(ANNOTATE).rejection == "refusal"
            provider.script.append(error(429, "You exceeded your quota", "insufficient_quota"))
            code, told = failure(stub.Annotate, ANNOTATE)
            assert (code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "QUOTA_EXHAUSTED")
            provider.script.append(error(503, "try later"))
            assert failure(stub.Annotate, ANNOTATE)[0] is grpc.StatusCode.UNAVAILABLE
            provider.key = "revoked"
            code, told = failure(stub.Annotate, ANNOTATE)
            assert (code, told.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "KEY_REFUSED")
            assert KEY not in str(told)
        running = psutil.Process(teacher.process.pid)
        for process in [running, *running.children(recursive=True)]:
            assert KEY not in command_of(process)
        log = teacher.log.read_text()
    assert f"{MODEL} at {provider.url.removesuffix('/v1')}, image detail low" in log
    assert KEY not in log
    assert {
        body["messages"][-1]["content"][0]["image_url"]["detail"] for body in provider.requests
    } == {"low"}


@pytest.mark.parametrize(
    ("key", "says"),
    [("another", "does not accept the key in OPENAI_API_KEY"), ("", "OPENAI_API_KEY holds blanks")],
)
def test_a_wrong_key_is_told_once_and_the_service_is_never_ready(tmp_path, key, says):
    env = {} if key else {"OPENAI_API_KEY": "two words"}
    with providing_beside(key=key or KEY) as provider:
        usual = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": provider.url, **env}
        with serving(
            "teacher", tmp_path, engine="openai", model=MODEL, env=usual, wait=False
        ) as teacher:
            teacher.wait_until_logged("teacher cannot serve")
            log = teacher.log.read_text()
    assert says in log
    assert KEY not in log
    assert "Traceback" not in log


def test_killed_with_a_batch_under_way_the_next_process_has_its_reply(tmp_path):
    settings = {
        "batch": 1,
        "batch_folder": tmp_path / "batches",
        "batch_wait_s": 0.2,
        "batch_poll_s": 0.2,
    }

    def reply(teacher):
        with grpc.insecure_channel(teacher.address) as channel:
            return teacher_pb2_grpc.TeacherServiceStub(channel).Annotate(ANNOTATE)

    with providing_beside() as provider:
        with openai_teacher(tmp_path, provider, **settings) as teacher:
            code, told = failure(reply, teacher)
            assert (code, told.reason) == (grpc.StatusCode.UNAVAILABLE, "PENDING")
            until_true(lambda: provider.batches)
            teacher.kill_at_once()
        provider.finish("batch_0")
        with openai_teacher(tmp_path, provider, **settings) as teacher:
            teacher.wait_until_logged("completed")
            annotated = reply(teacher)
    assert annotated.question == "what is number 7?"
    assert annotated.usage.cost_usd == pytest.approx((1000 * 2.5 + 10 * 10) / 1e6 / 2)
    assert (len(provider.batches), provider.requests) == (1, [])
