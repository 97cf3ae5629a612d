"""Rounds with --focus: the further questions, their shares, each asked once, after any
interruption.
"""

import re
from collections import Counter
from dataclasses import replace

import pytest

from services.core.errors import Unavailable
from services.core.questions import question_kind
from tests.orchestrator.conftest import rows, with_recipe
from tests.orchestrator.rounds import align, rounds_bench
from tests.orchestrator.scripted import ScriptedTeacher, draw

OPENINGS = ("what color is", "how many are in", "who is at", "is this")
WISH = re.compile(r'^Ask a question that (?:begins with "(.+)"|is answered by yes or no)\.\n\n')
GAP = """
SELECT question FROM records r JOIN annotations a USING (image_sha256, number)
JOIN images i ON i.sha256 = r.image_sha256
WHERE r.round = 1 AND r.cell = 'gap' AND a.rejection = '' AND NOT held_out
"""


def question(sha256, seed):
    """Most records are of the first kind."""
    lot = draw("kind", sha256, seed)
    return f"{OPENINGS[int(lot * lot * len(OPENINGS))]} thing {int(draw(sha256, seed) * 1000)}?"


def wished(teacher):
    found = (WISH.match(prompt) for prompt in teacher.prompts)
    return Counter(wish[1] or "yes/no" for wish in found if wish)


@pytest.mark.parametrize("focus", [False, True])
async def test_further_questions_are_of_the_kinds_of_the_gap(tmp_path, pool, focus):
    teacher = ScriptedTeacher(question=question)
    async with rounds_bench(tmp_path / "run", pool, teacher, recipe="paper") as b:
        b.settings = with_recipe(replace(b.settings, focus=focus), held_out=0.6, minimum_gap=1)
        summary = await align(b, 2)
    gap = Counter(question_kind(asked) for (asked,) in rows(b.folder, GAP))
    assert teacher.calls["annotate"] == (240 if focus else 120)
    assert [row.records for row in summary.rounds] == ([120, 240] if focus else [120, 120])
    assert sum(wished(teacher).values()) == (120 if focus else 0)
    assert len(gap) >= 3
    for kind in gap if focus else ():
        assert wished(teacher)[kind] / 120 == pytest.approx(gap[kind] / gap.total(), abs=0.15)
    assert set(wished(teacher)) <= set(gap)


async def test_every_round_asks_one_question_more_and_none_twice(tmp_path, pool):
    teacher = ScriptedTeacher(question=question)
    async with rounds_bench(tmp_path / "run", pool, teacher, recipe="paper") as b:
        b.settings = with_recipe(replace(b.settings, focus=True), held_out=0.6, minimum_gap=1)
        await align(b, 1)
        assert teacher.calls["annotate"] == 120
        await align(b, 3)
        await align(b, 3)
    assert teacher.calls["annotate"] == 360
    assert max(teacher.keys.values()) == 1
    assert rows(b.folder, "SELECT number, count(*) FROM annotations GROUP BY 1") == [
        (0, 120),
        (1, 120),
        (2, 120),
    ]


async def test_interrupted_it_ends_with_the_same_questions(tmp_path, pool):
    async def ledger(folder, *, breaks):
        teacher = ScriptedTeacher(question=question)
        async with rounds_bench(folder, pool, teacher, recipe="paper", patience_s=0.0) as b:
            b.settings = with_recipe(replace(b.settings, focus=True), held_out=0.6, minimum_gap=1)
            await align(b, 1)
            if breaks:
                teacher.fails = lambda *_: (
                    Unavailable("gone") if teacher.calls["annotate"] >= 160 else None
                )
                with pytest.raises(Unavailable):
                    await align(b, 2)
                assert 120 < teacher.calls["annotate"] < 240
                teacher.fails = lambda *_: None
            await align(b, 2)
        assert teacher.calls["annotate"] == 240
        return rows(
            folder,
            "SELECT image_sha256, number, question, answer, rejection "
            "FROM annotations ORDER BY 1, 2",
        )

    assert await ledger(tmp_path / "broken", breaks=True) == await ledger(
        tmp_path / "calm", breaks=False
    )
