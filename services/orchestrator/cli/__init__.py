"""`mpa-orch`: commands, options, exit codes.

main.py       the program; its commands are functions in the modules below
align.py      align; steps.py: its steps one by one; quote.py: its price;
              request.py: the options of align, annotate and quote as one object
results.py    status, rounds, matchers; runs.py, audit.py, datasets.py, cache.py, experiment.py:
              a group of commands each; services.py: serve, ask, rollback, models
options.py    options that commands share; run_options.py: options that define a run
reach.py      from options to addresses; session.py: one command at work on one run
commands.py   the work of each command; exits.py: exit codes; amounts.py: money, time, sizes
"""
