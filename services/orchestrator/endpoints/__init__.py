"""Ways to reach the models.

where.py            addresses, or the wish to start the services here
connect.py          clients of the services, for as long as a command takes
processes.py        services started here; die_with_parent.py ends them with the command
panel.py            several teachers that vote
cached_teacher.py   a teacher whose replies are kept in cache.py and paid by spending.py
budget.py           limits of cost and time; billing.py: those of one command
"""
