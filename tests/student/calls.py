"""Calls of a student: a question, an upload, a training and the wait for it."""

import hashlib

from google.longrunning import operations_pb2

from protos.mpa.v1 import student_pb2, training_pb2, types_pb2
from tests.pictures import numbered_png, png

IMAGE = png()


def ask(question="what color is object 1?", image=IMAGE, **fields):
    return student_pb2.AnswerRequest(image=types_pb2.Image(data=image), question=question, **fields)


async def upload(peer, samples=64):
    images = [numbered_png(number) for number in range(8)]

    async def parts():
        for image in images:
            yield training_pb2.UploadDatasetRequest(image=image)
        for number in range(samples):
            sample = training_pb2.TrainingSample(
                image_sha256=hashlib.sha256(images[number % 8]).hexdigest(),
                question=f"what is {number}?",
                answer="red",
            )
            yield training_pb2.UploadDatasetRequest(sample=sample)

    return (await peer.training.UploadDataset(parts())).dataset


async def train(peer, request_id="one", samples=64, **fields):
    dataset = await upload(peer, samples)
    return await peer.training.Train(
        training_pb2.TrainRequest(
            request_id=request_id, dataset=dataset, run="r", recipe="paper", **fields
        )
    )


async def wait(peer, operation):
    done = await peer.operations.WaitOperation(
        operations_pb2.WaitOperationRequest(name=operation.name)
    )
    response = training_pb2.TrainResponse()
    done.response.Unpack(response)
    return done, response
