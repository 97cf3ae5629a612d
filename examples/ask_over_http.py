"""Asks the endpoint a question about an image, over HTTP. Needs httpx alone, not this package.

python examples/ask_over_http.py photo.jpg "what does the sign say?" http://localhost:3000

MPA_KEY holds the caller's key if the service needs one.
"""

import os
import sys
from pathlib import Path

import httpx


def ask(image: Path, question: str, url: str) -> None:
    files, fields = {"image": image.read_bytes()}, {"question": question}
    key = os.environ.get("MPA_KEY")
    headers = {"authorization": f"Bearer {key}"} if key else {}
    response = httpx.post(f"{url}/v1/vqa", files=files, data=fields, headers=headers, timeout=60)
    reply = response.raise_for_status().json()
    print(f"{reply['answer']}  ({reply['version']}, {reply['usage']['completion_tokens']} tokens)")


if __name__ == "__main__":
    image, question, url = sys.argv[1:]
    ask(Path(image), question, url)
