"""Asks the endpoint a question about an image, over gRPC.

python examples/ask.py photo.jpg "what does the sign say?" localhost:50052

MPA_KEY holds the caller's key if the service needs one; with TLS the address is grpcs://HOST:PORT.
"""

import asyncio
import sys
from pathlib import Path

from services.rpc.client import Picture, StudentClient


async def ask(image: Path, question: str, address: str) -> None:
    async with StudentClient(address) as student:
        reply = await student.answer(Picture.of(image.read_bytes()), question)
    print(f"{reply.answer}  ({reply.version}, {reply.provenance.usage.completion_tokens} tokens)")


if __name__ == "__main__":
    image, question, address = sys.argv[1:]
    asyncio.run(ask(Path(image), question, address))
