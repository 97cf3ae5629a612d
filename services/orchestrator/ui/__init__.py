"""The explorer: pages over the runs of a folder, in a browser. `mpa-orch ui` serves them.

`mpa-orch report` writes those of one run into a file.

application.py    the routes: each view is a page and, under the same name, JSON
listening.py      the address, and who may be given what is on it; guard.py: each request's check
library.py        runs by name; upkeep.py: their catalogues, kept up to date by a thread
choosing.py       a view's state in its address: facets, words, order, page
run_list.py, overview.py, live_run.py, verdict.py, record_list.py, record_detail.py,
review_summary.py    the content of each view
review_desk.py    reviews as people write them; forms.py: their forms, the reviewer's name
thumbnails.py     images of the run's source, encoded again
side_by_side.py   two runs, or two rounds of one
plots.py          pictures as SVG
rendering.py      content into pages; templates/ and static/
single_file.py    a run as one HTML file
"""
