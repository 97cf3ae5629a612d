"""A teacher behind the chat completions API: GPT-4o, or any server that speaks it (vLLM's own among them).

    MPA_TEACHER_ENGINE=openai MPA_TEACHER_MODEL=gpt-4o-2024-11-20 OPENAI_API_KEY=... \\
        bentoml serve services.teacher.service:TeacherService --port 3001

`settings` reads the variables, `chat` turns a prompt into a request and a response into a reply, `faults` says what a refusal
means, `pacing` keeps to the limits, `api` sends with retries, `batches` is the batch API at half the price, `prices` knows
what tokens cost, `images` encodes, and `engine` puts them together.

Over httpx and not the openai client: retries, cool-downs and the idempotency key have to work across requests, and are a
page here; the client would bring its own, and a second HTTP stack.
"""
