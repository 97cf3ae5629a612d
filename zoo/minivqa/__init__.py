"""Four families of questions like the paper's, drawn from what is installed, for models of a few million parameters.

    scene_text   signs in front of photographs         TextVQA     VQA accuracy
    reading      one printed word, and nothing else    ICDAR 2015  word recognition
    charts       bars with values, from real tables    ChartQA     relaxed accuracy
    knowledge    objects, and what one knows of them   OKVQA       VQA accuracy

Every picture is a function of (family, part, seed, number). Fonts, drawings of objects, tables, photographs and the wording of
questions are split by entity (`parts.py`): what the test shows is unseen in the pool and in training.
"""
