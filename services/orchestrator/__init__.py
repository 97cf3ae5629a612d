"""The orchestrator: drives teacher and student through one run.

Its root is the flow, the folders are rooms.

rounds.py     rounds of an alignment, each with a better student
alignment.py  one round, top to bottom
stream.py     annotates and identifies many images at once; in_flight.py bounds their number
in_turn.py    the same with teacher and student taking turns on one device

Each room imports only rooms below it (pyproject.toml keeps this):

cli/ -> reports/ -> experiments/ -> audit/ | quotes/ | distributed/ -> the flow ->
production/ -> steps/ -> scoring/ -> endpoints/ | exports/ -> datasets/ | run/ -> images/
"""
