"""Readers of strangers' bytes: they answer with a value or an MpaError, whatever the bytes are.

parser     a reader with examples of its input
requests   bytes of callers, and replies of other services
files      data sets, images in containers, checkpoints, ledgers
guided     coverage-guided fuzzing of one of them, by atheris
"""
