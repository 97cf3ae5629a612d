"""Tokenizers of InternVL2 in the files of its publication, trained on a few questions.

Three language models, each with its own kind: InternLM2, Phi-3, Qwen2.
"""

import json

from services.core.tasks import TASKS, answer_prompt

MARKS = [
    "<img>",
    "</img>",
    "<IMG_CONTEXT>",
    "<quad>",
    "</quad>",
    "<ref>",
    "</ref>",
    "<box>",
    "</box>",
]

_CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_PHI = (
    "{{ bos_token }}{% for message in messages %}{{'<|' + message['role'] + '|>\n' + "
    "message['content'] + '<|end|>\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
_UNUSED = 8
"""Placeholders at the end of InternLM2's vocabulary; the last six got names later."""
_INTERN_NAMES = [
    "<|plugin|>", "<|interpreter|>", "<|action_end|>", "<|action_start|>", "<|im_end|>",
    "<|im_start|>",
]  # fmt: skip
_PHI_NAMES = [
    "<|endoftext|>", "<|assistant|>", "<|placeholder1|>", "<|placeholder2|>", "<|placeholder3|>",
    "<|placeholder4|>", "<|system|>", "<|end|>", "<|placeholder5|>", "<|placeholder6|>",
    "<|user|>",
]  # fmt: skip


def save_tokenizer(folder, language):
    """Writes the files of a tokenizer, and returns the text of each token."""
    kinds = {"internlm2": _internlm2_tokenizer, "phi3": _phi3_tokenizer, "qwen2": _qwen2_tokenizer}
    return kinds[language](folder)


def _added(content, rstrip=False):
    return {
        "content": content,
        "lstrip": False,
        "normalized": False,
        "rstrip": rstrip,
        "single_word": False,
        "special": True,
    }


def _corpus():
    questions = ("what color is the shape?", "is there a circle?", "how many shapes are there?")
    return [*map(answer_prompt, questions), TASKS["vqa"].annotation_prompt, "red green blue yes no"]


def _sentencepiece(path, *, begins_with_blank, unused=0):
    """Trains tokenizer.model, and returns its pieces."""
    import io

    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2 as messages

    trained = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_corpus() * 20),
        model_writer=trained,
        model_type="bpe",
        vocab_size=600,
        hard_vocab_limit=False,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=begins_with_blank,
        minloglevel=2,
    )
    model = messages.ModelProto.FromString(trained.getvalue())  # type: ignore[attr-defined] # no stubs
    for number in range(unused):
        model.pieces.add(piece=f"[UNUSED_TOKEN_{number}]", score=0.0, type=4)  # user defined
    path.write_bytes(model.SerializeToString())
    return [piece.piece for piece in model.pieces]


def _internlm2_tokenizer(folder):
    pieces = _sentencepiece(folder / "tokenizer.model", begins_with_blank=False, unused=_UNUSED)
    base = pieces[: -len(_INTERN_NAMES)]
    texts = [*base, *_INTERN_NAMES, *MARKS]
    _write_tokenizer_config(
        folder,
        {
            **{str(at): _added(texts[at]) for at in (0, 1, 2)},
            **{str(at): _added(texts[at]) for at in range(len(base), len(texts))},
        },
        tokenizer_class="InternLM2Tokenizer",
        auto_map={"AutoTokenizer": ["tokenization_internlm2.InternLM2Tokenizer", None]},
        chat_template="{{ bos_token }}" + _CHATML,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["<|im_start|>", "<|im_end|>", *MARKS],
    )
    return texts


def _phi3_tokenizer(folder):
    pieces = _sentencepiece(folder / "tokenizer.model", begins_with_blank=True)
    texts = [*pieces, *_PHI_NAMES, *MARKS]
    _write_tokenizer_config(
        folder,
        {
            **{str(at): _added(texts[at]) for at in (0, 1, 2)},
            **{
                str(at): _added(texts[at], rstrip=texts[at] in _PHI_NAMES[1:])
                for at in range(len(pieces), len(texts))
            },
        },
        tokenizer_class="LlamaTokenizer",
        add_bos_token=True,
        add_eos_token=False,
        legacy=False,
        chat_template=_PHI,
        bos_token="<s>",
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        unk_token="<unk>",
        additional_special_tokens=MARKS,
    )
    return texts


def _qwen2_tokenizer(folder):
    from zoo.architecture import build_tokenizer

    state = json.loads(build_tokenizer().backend_tokenizer.to_str())
    vocabulary = state["model"]["vocab"]
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    merges = [
        merge if isinstance(merge, str) else " ".join(merge) for merge in state["model"]["merges"]
    ]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]))
    by_id = {at: text for text, at in vocabulary.items()}
    by_id |= {added["id"]: added["content"] for added in state["added_tokens"]}
    texts = [by_id[at] for at in range(len(by_id))] + MARKS
    names = [added["id"] for added in state["added_tokens"]]
    _write_tokenizer_config(
        folder,
        {str(at): _added(texts[at]) for at in [*names, *range(len(by_id), len(texts))]},
        tokenizer_class="Qwen2Tokenizer",
        add_prefix_space=False,
        chat_template=_CHATML,
        bos_token=None,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token=None,
        additional_special_tokens=["<|im_start|>", "<|im_end|>", *MARKS],
    )
    return texts


def _write_tokenizer_config(folder, added, **rest):
    config = {"added_tokens_decoder": added, "model_max_length": 8192, **rest}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, ensure_ascii=False, indent=1))
