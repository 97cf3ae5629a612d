"""Messages for wrong files of experiments."""

import pytest

from services.core.errors import InvalidInput
from services.orchestrator.experiments.file import read_experiment
from tests.orchestrator.experiments.conftest import FILE, write


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('["zero-shot", "paper"]', '["mpa"]', r'"arms" is wrong: there is no arm .mpa.'),
        ('["zero-shot", "paper"]', "[]", r'"arms" is empty'),
        ('["zero-shot", "paper"]', '["paper", "paper"]', r'"arms" names .paper. twice'),
        ('["qwen2vl-2b"]', '["qwen2vl-2"]', r'"students" is wrong: .*did you mean qwen2vl-2b'),
        ('["qwen2vl-2b"]', '["qwen2vl-7b"]', r'"students" is wrong: .*is no student'),
        ('teachers = ["qwen2vl-7b"]\n', "", r'"teachers" is missing, and the arm paper needs one'),
        ('students = ["qwen2vl-2b"]\n', "", r'"students" is missing'),
        ("seeds = [0]", "seeds = [0, 0]", r'"seeds" is \[0, 0\]: give different'),
        ("seeds = [0]", "seeds = 3", r'"seeds" is 3'),
        ("seeds = [0]", 'recipe = "filtered+narrow"', r'"recipe" is .*name parts .* in arms'),
        ("seeds = [0]", 'recipe = "best"', r'"recipe" is wrong: there is no recipe .best.: choose'),
        ("seeds = [0]", "questions = 0", r'"questions" is 0'),
        (
            "seeds = [0]",
            'loss = "hinge"',
            r'"loss" is .hinge.: choose one of token, sample, preset',
        ),
        ("seeds = [0]", "seed = 0", r'"seed" is an unknown key: use one of title'),
        ("[tasks.vqa]", "[tasks.vqqa]", r'tasks.vqqa: "task" is .vqqa.: choose one of textvqa'),
        ('pool = "pool"', 'pool = "lake"', r'tasks.vqa: "pool" is .lake., and there is no'),
        ('pool = "pool"\n', "", r'"tasks" has no task with pool, and the arm paper'),
        (
            'files = "test.jsonl"',
            'files = "gone.jsonl"',
            r'tasks.vqa.test: "files" names .gone.jsonl.: there is no data set',
        ),
        (
            'files = "test.jsonl"',
            'files = "test.jsonl", images = "no"',
            r'tasks.vqa.test: "images" is .no.',
        ),
        ('files = "test.jsonl"', 'file = "test.jsonl"', r'tasks.vqa.test: "file" is an unknown'),
        (
            "[tasks.vqa]",
            '[tasks.vqa]\ntest_on = ["ocr"]',
            r'tasks.vqa: "test_on" names .ocr., which is no task',
        ),
        ("seeds = [0]", 'test_on = ["ocr"]', r'mine.toml: "test_on" names .ocr., which is no task'),
        (
            "[tasks.vqa]",
            '[settings.gpt-4o]\nENGINE = "openai"\n[tasks.vqa]',
            r'"settings" names .gpt-4o., which is no',
        ),
        (
            "[tasks.vqa]",
            '[[tables]]\nname = "a"\nrows = ["who"]\ncolumns = ["on"]\n[tasks.vqa]',
            r'"rows" names .who.: choose',
        ),
        (
            "[tasks.vqa]",
            '[[tables]]\nname = "a"\nrows = ["on"]\ncolumns = ["on"]\n[tasks.vqa]',
            r'"columns" names .on., and so',
        ),
        (
            "[tasks.vqa]",
            '[[tables]]\nname = "a"\nrows = ["arm"]\ncolumns = ["on"]\nmetrics = true\n[tasks.vqa]',
            r'"metrics" are rows of each test',
        ),
        (
            '["zero-shot", "paper"]',
            '["zero-shot", { arm = "paper", epochs = [2, 4] }]',
            r"refuses to choose on the test draw: compare them with draw",
        ),
        (
            '["zero-shot", "paper"]',
            '["zero-shot", { arm = "paper", epoch = 2 }]',
            r'arms\[1\]: "epoch" is an unknown key: use one of arm, epochs',
        ),
        (
            '["zero-shot", "paper"]',
            '[{ arm = "paper", epochs = [] }]',
            r'arms\[0\]: "epochs" is empty',
        ),
        (
            '["zero-shot", "paper"]',
            '[{ arm = "paper", epochs = "two" }]',
            r'arms\[0\]: "epochs" is a text, not a number',
        ),
        (
            '["zero-shot", "paper"]',
            '[{ arm = "paper", epochs = 0.5 }]',
            r'"arms" is wrong: .* has epochs .0.5.: give a whole number',
        ),
        ('["zero-shot", "paper"]', "[{ epochs = 2 }]", r'arms\[0\]: "arm" is missing'),
        ('["zero-shot", "paper"]', '["paper", 3, {arm = "random"}]', r'"arms\[1\]" is a number'),
        ("seeds = [0]", "held_out = 1", r'"held_out" is 1: give a share of the images below 1'),
        ("seeds = [0]", 'draw = "final"', r'"draw" is .final.: choose one of dev, test'),
        ("seeds = [0]", 'draw = "dev"', r'tasks.vqa: "dev" is missing, and this experiment is'),
        (
            'test = { files = "test.jsonl" }',
            'dev = { files = "test.jsonl" }\n[tasks.ocr]\ntest = { files = "test.jsonl" }',
            r'tasks.ocr: "dev" is missing',
        ),
        ("[tasks.vqa]", "[tasks.vqa", "is no TOML"),
    ],
)
def test_a_wrong_file_is_told_by_its_key(data, old, new, complaint):
    text = FILE.format(arms='["zero-shot", "paper"]', seeds="[0]")
    assert old in text
    with pytest.raises(InvalidInput, match=complaint):
        read_experiment(write(data, text.replace(old, new)), data)
