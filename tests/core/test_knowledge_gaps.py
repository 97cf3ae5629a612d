import pytest

from services.core.agreement import Agreement
from services.core.knowledge_gaps import (
    CATEGORIES,
    JUDGE,
    Mistake,
    by_rule,
    judge_prompt,
    read_verdict,
)
from services.core.tasks import answer_prompt


def decided(task, question, reference, prediction, samples=(0, 0)):
    found = by_rule(Mistake(question, reference, prediction, Agreement(*samples)), CATEGORIES[task])
    return found.name if found else None


@pytest.mark.parametrize(
    ("task", "question", "reference", "prediction", "category"),
    [
        # right, in more words
        ("textvqa", "what does the sign say?", "stop", "it says stop", "verbose"),
        ("textvqa", "what does the sign say?", "Stop!", "The sign says: STOP.", "verbose"),
        ("chartqa", "which year is highest?", "2012", "the year 2012", "verbose"),
        ("okvqa", "is it edible?", "yes", "yes it is", "verbose"),
        # what is around it takes it back, or names something else
        ("okvqa", "is it edible?", "yes", "yes or no", None),
        ("textvqa", "what color is the sign?", "red", "not red", None),
        ("textvqa", "what color is the sign?", "red", "maybe red", None),
        ("chartqa", "how many bars are there?", "5", "5 10", None),
        ("chartqa", "how many bars are there?", "5", "15", None),
        ("textvqa", "what does the sign say?", "stop", "stop", None),
        ("textvqa", "what does the sign say?", "", "stop it", None),
        # no answer at all
        ("okvqa", "at what speed does this animal run?", "45 mph", "", "no_knowledge"),
        ("okvqa", "at what speed does this animal run?", "45 mph", "I don't know.", "no_knowledge"),
        ("okvqa", "at what speed does this animal run?", "45 mph", "unanswerable", "no_knowledge"),
        ("vqa", "what color is it?", "red", "unknown", "no_knowledge"),
        ("okvqa", "who painted it?", "monet", "not surely known", None),
        ("textvqa", "what does it say?", "stop", "unknown", None),
        # nearly the right text
        ("textvqa", "which company is it?", "burberry", "burbery", "noisy_ocr"),
        ("ocr", "what is written in the image?", "LONDON", "LONDQN", "noisy_ocr"),
        ("textvqa", "which word is below design?", "interior", "para", None),
        ("textvqa", "which color is it?", "red", "bed", None),
        ("textvqa", "what number is it?", "1234", "1235", None),
        ("okvqa", "what animal is it?", "giraffe", "girafe", None),
        # how something changes
        ("chartqa", "Does the life expectancy decrease over the years?", "Yes", "no", "trend"),
        ("chartqa", "what is the trend of sales?", "increasing", "decreasing", "trend"),
        ("chartqa", "how many people moved to the growing city?", "40", "30", None),
        ("chartqa", "is the blue bar the highest?", "yes", "no", None),
        ("chartqa", "was the surprise decisive?", "yes", "no", None),
        ("okvqa", "does the water level rise?", "yes", "no", None),
    ],
)
def test_rules_decide_where_the_texts_say_enough(task, question, reference, prediction, category):
    assert decided(task, question, reference, prediction) == category


def test_a_label_that_samples_contradict_is_noise_before_anything_else():
    asked = ("textvqa", "what does the sign say?", "stop", "it says stop")
    assert decided(*asked, (1, 4)) == "noisy"
    assert decided(*asked, (3, 4)) == "verbose"


def test_the_judge_is_told_the_whole_case():
    mistake = Mistake("which {categories}?", "{prediction}", "{question} a {reference}")
    prompt = answer_prompt("what?", judge_prompt(mistake, CATEGORIES["chartqa"]))
    assert "Right answer: {prediction}\n" in prompt
    assert "A. gave what the chart says of another entity" in prompt
    assert "E. can't be blamed" in prompt
    assert prompt.endswith("Reply with one letter.")
    assert "The model's answer: (none)" in judge_prompt(Mistake("q?", "a", ""), CATEGORIES["okvqa"])
    assert {"question", "reference", "prediction", "categories"} == {
        part.partition("}")[0] for part in JUDGE.split("{")[1:]
    }


@pytest.mark.parametrize(
    ("reply", "category"),
    [
        ("A", "entity_misalignment"),
        (" (C). ", "trend"),
        ("B. failed at a condition", "condition"),
        ("**E**", "noisy"),
        ("D) it is right", "verbose"),
        ("It is a case of Trend misinterpretation.", "trend"),
        ("A person read it wrongly", None),
        ("F", None),
        ("Because of the chart", None),
        ("Entity misalignment or trend misinterpretation", None),
        ("", None),
    ],
)
def test_a_verdict_is_one_letter_or_one_title(reply, category):
    found = read_verdict(reply, CATEGORIES["chartqa"])
    assert (found.name if found else None) == category


READING = [
    "Shallow OCR grounding",
    "Noisy or hallucinated OCR",
    "Correct but Verbose",
    "Noisy/Task-Irrelevant samples",
]


def test_the_categories_are_those_of_table_8():
    assert {
        task: [of.title for of in CATEGORIES[task]]
        for task in ("textvqa", "stvqa", "chartqa", "okvqa")
    } == {
        "textvqa": READING,
        "stvqa": READING,
        "chartqa": [
            "Entity misalignment",
            "Conditional/chart understanding errors",
            "Trend misinterpretation",
            "Correct but Verbose",
            "Noisy/Task-Irrelevant samples",
        ],
        "okvqa": [
            "Lack of internal knowledge grounding",
            "Visual guesswork",
            "Correct but Verbose",
            "Noisy/Task-Irrelevant samples",
        ],
    }
    for categories in CATEGORIES.values():
        assert [of.title for of in categories if not of.is_gap] == [
            "Correct but Verbose",
            "Noisy/Task-Irrelevant samples",
        ]
