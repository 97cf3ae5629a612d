"""Ways to reach the models.

where.py            addresses, or the choice to start the services here
connect.py          clients of the services, for as long as a command takes
processes.py        services started here; die_with_parent.py ends them with the command
panel.py            several teachers that vote
cached_teacher.py   a teacher whose replies are cached and paid for
call.py             a call by its content; cache.py: replies by their calls
spending.py         the cache and the budget of a command
budget.py           limits of cost and time; billing.py: those of one command
"""
