"""Tokenizer code of InternLM2: sentencepiece, with "<s>" in front of each text."""

import shutil
from pathlib import Path

import sentencepiece
from transformers import PreTrainedTokenizer


class InternLM2Tokenizer(PreTrainedTokenizer):
    vocab_files_names = {"vocab_file": "./tokenizer.model"}  # noqa: RUF012 (the base has it so)
    model_input_names = ["input_ids", "attention_mask"]  # noqa: RUF012

    def __init__(self, vocab_file, add_bos_token=True, **settings):
        self.vocab_file = vocab_file
        self.add_bos_token = add_bos_token
        self.sp_model = sentencepiece.SentencePieceProcessor(model_file=vocab_file)
        super().__init__(**settings)

    @property
    def vocab_size(self):
        return self.sp_model.get_piece_size()

    def get_vocab(self):
        pieces = {self.sp_model.id_to_piece(at): at for at in range(self.vocab_size)}
        return {**pieces, **self.added_tokens_encoder}

    def _tokenize(self, text, **settings):
        return self.sp_model.encode(text, out_type=str)

    def _convert_token_to_id(self, token):
        return self.sp_model.piece_to_id(token)

    def _convert_id_to_token(self, index):
        return self.sp_model.id_to_piece(index)

    def convert_tokens_to_string(self, tokens):
        return self.sp_model.decode(tokens)

    def build_inputs_with_special_tokens(self, token_ids_0, token_ids_1=None):
        return [self.sp_model.bos_id()] * self.add_bos_token + token_ids_0 + (token_ids_1 or [])

    def save_vocabulary(self, save_directory, filename_prefix=None):
        target = Path(save_directory, "tokenizer.model")
        shutil.copy2(self.vocab_file, target)
        return (str(target),)
