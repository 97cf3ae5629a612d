"""Four families of questions like the paper's, drawn from installed packages, for tiny models.

    scene_text   signs in front of photographs         TextVQA     VQA accuracy
    reading      one printed word, and nothing else    ICDAR 2015  word recognition
    charts       bars with values, from real tables    ChartQA     relaxed accuracy
    knowledge    objects, and common facts about them  OKVQA       VQA accuracy

Every picture is a function of (family, part, seed, number). The draws `dev` and `final` have 1,600
questions a family: recipes are chosen on `dev`, and `final` is asked once for each claim. `test`
(400 questions) is that of docs/results.md. It was seen while recipes were explored, so it decides
about none.

Fonts, drawings of objects, tables, photographs and the wording of questions are split by entity
(`parts.py`): entities of the test, `dev` and `final` appear neither in the pool nor in training.
"""
