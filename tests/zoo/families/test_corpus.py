from zoo.minivqa.lexicon import COLORS, PRINTED_WORDS, SIGN_WORDS
from zoo.minivqa.objects import OBJECTS


def test_printed_words_are_spelled_and_facts_are_words(tokenizer):
    for word in (*SIGN_WORDS, *PRINTED_WORDS, "2048"):
        assert tokenizer.tokenize(word) == list(word)
    facts = (word for thing in OBJECTS for word in thing.name.split()[:1])
    for text in (*COLORS, "yes", "no", *facts):
        assert tokenizer.tokenize(text) == [text]
    text = "Question: how much is the red bar?\nAnswer: 12"
    assert tokenizer.decode(tokenizer(text).input_ids) == text
