"""The explorer: pages over the runs of a folder, in a browser. `mpa-orch ui` serves them.

application.py    the routes: each view is a page and, under the same name, JSON
listening.py      the address, and who may be given what is on it; guard.py: each request's check
library.py        runs by name; upkeep.py: their catalogues, kept up to date by a thread
choosing.py       a view's state in its address: facets, words, order, page
run_list.py, overview.py, record_list.py, record_detail.py, live_run.py    the content of each view
thumbnails.py     images of the run's source, encoded again
rendering.py      content into pages; templates/ and static/
"""
