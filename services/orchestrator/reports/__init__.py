"""Output for people and programs: tables on a terminal, lines elsewhere, JSON on request.

listing.py      one way to print a line or rows, for all of them
summary.py      the result of a run; rounds.py: its rounds
runs.py         `mpa-orch runs` and `mpa-orch matchers`
quote.py        the expected costs of a run
models.py       `mpa-orch models`
cache.py        the teacher cache
datasets.py     the checks of a data set; scoring.py: a comparison of two evaluations
audit.py        the figures of an audit (Table 4); breakdown.py: errors by category (Table 8)
experiments.py  the plan of an experiment
"""
