"""A teacher behind the chat completions API: GPT-4o, or any server that speaks it, such as vLLM's.

    MPA_TEACHER_ENGINE=openai MPA_TEACHER_MODEL=gpt-4o-2024-11-20 OPENAI_API_KEY=... \\
        bentoml serve services.teacher.service:TeacherService --port 3001

`settings` reads the variables, `chat` turns a prompt into a request and a response into a reply,
`faults` explains refusals, `pacing` keeps to the limits, `api` sends with retries, `batches` is
the batch API at half the price, `prices` has the price table, `images` encodes, and `engine` puts
them together.

httpx is used instead of the openai client, which would bring its own retries and a second HTTP
stack. Retries, cool-downs and the idempotency key must work across requests; they take a page.
"""
