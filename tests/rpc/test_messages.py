"""Items of one message, and items that wait for the next."""

import asyncio

from protos.mpa.v1 import student_pb2, types_pb2
from services.rpc.limits import MAX_MESSAGE_BYTES
from services.rpc.messages import ENOUGH_BYTES, MOST_ITEMS, apart, fill


def item(number, data=b""):
    return student_pb2.AnswerStreamRequest(
        id=str(number),
        request=student_pb2.AnswerRequest(image=types_pb2.Image(data=data), question="why?"),
    )


def waiting(*items):
    queue = asyncio.Queue()
    for each in items:
        queue.put_nowait(each)
    return queue


def ids(message):
    return [each.id for each in apart(message)]


def test_all_that_waits_goes_along_in_its_order():
    message, queue = item(0), waiting(item(1), item(2))
    fill(message, queue)
    assert ids(message) == ["0", "1", "2"]
    assert queue.empty()


def test_a_message_has_so_many_items_at_most():
    message, queue = item(0), waiting(*map(item, range(1, 100)))
    fill(message, queue)
    assert ids(message) == [str(number) for number in range(MOST_ITEMS)]
    assert queue.get_nowait().id == str(MOST_ITEMS)


def test_large_images_go_in_messages_that_are_let_in():
    image = bytes(24 * 2**20)
    message, queue = item(0, bytes(ENOUGH_BYTES - 100)), waiting(item(1, image), item(2, image))
    fill(message, queue)
    assert ids(message) == ["0", "1"]
    assert message.ByteSize() < MAX_MESSAGE_BYTES
    alone = item(3, bytes(ENOUGH_BYTES))
    fill(alone, queue)
    assert ids(alone) == ["3"]


def test_the_end_of_the_queue_stays_its_end():
    message, queue = item(0), waiting(item(1), None)
    fill(message, queue)
    assert ids(message) == ["0", "1"]
    assert queue.get_nowait() is None
