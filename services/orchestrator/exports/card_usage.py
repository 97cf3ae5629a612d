"""Part of a model card: programs that ask the model exactly as its service does."""

from __future__ import annotations

from services.core.contract import Contract
from services.orchestrator.exports.markdown import block

TRANSFORMERS = """\
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor, GenerationConfig

MODEL = "."  # this folder, or its name on the hub
TEMPLATE = {template}
SYSTEM = {system}

processor = AutoProcessor.from_pretrained(MODEL)
model = AutoModelForImageTextToText.from_pretrained(MODEL, dtype="auto")
own = model.generation_config  # its service answers without the checkpoint's defaults
model.generation_config = GenerationConfig(
    eos_token_id=own.eos_token_id, pad_token_id=own.pad_token_id
)


def prompt(question):
    text = TEMPLATE.replace("{{question}}", question)
    turn = {{"role": "user", "content": [{{"type": "image"}}, {{"type": "text", "text": text}}]}}
    system = {{"role": "system", "content": [{{"type": "text", "text": SYSTEM}}]}}
    messages = [system, turn] if SYSTEM else [turn]
    return processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)


def answer(image, question):
    inputs = processor(images=[image], text=[prompt(question)], return_tensors="pt")
    made = model.generate(**inputs.to(model.device), {decoding})
    tokens = made[0, inputs["input_ids"].shape[1] :]
    return processor.decode(tokens, skip_special_tokens=True).strip()
"""
ASKING = 'answer(Image.open("photo.jpg").convert("RGB"), "What is in the picture?")'
VLLM = """\
from vllm import LLM, SamplingParams

engine = LLM(MODEL, limit_mm_per_prompt={{"image": 1}})
image = Image.open("photo.jpg").convert("RGB")
asked = {{"prompt": prompt("What is in the picture?"), "multi_modal_data": {{"image": image}}}}
(made,) = engine.generate([asked], SamplingParams({sampling}))
made.outputs[0].text.strip()
"""


def usage(contract: Contract) -> str:
    """The section, for the templates and the decoding of a version's contract."""
    length = contract.max_new_tokens
    sampled = f"temperature={contract.temperature}, top_p={contract.top_p}"
    greedy = contract.temperature == 0
    decoding = "do_sample=False" if greedy else f"do_sample=True, {sampled}"
    program = TRANSFORMERS.format(
        template=ascii(contract.answer_template),
        system=ascii(contract.system_prompt),
        decoding=f"max_new_tokens={length}, {decoding}",
    )
    on_vllm = VLLM.format(
        sampling=f"max_tokens={length}, " + ("temperature=0.0" if greedy else sampled)
    )
    return "\n\n".join(
        (
            "## Use",
            "The templates and the decoding are those that the version was trained and judged by. "
            "With transformers:",
            block(program, "python"),
            block(ASKING, "python"),
            "With vLLM, by the same prompt:",
            block(on_vllm, "python"),
            "",
        )
    )
