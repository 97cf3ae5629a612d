"""Audits by people: annotations before and after PI (Table 4), the student's errors (Table 8).

studies.py     the questions of a page: criteria.py about annotations, the core's
               knowledge_gaps.py about errors
sheet.py       a page's items and questions as data
candidates.py  the items to draw from; drawing.py draws them by seed, blind
page.py        a sheet as one HTML file (page.html)
key.py         the origin of each item, never given to raters
ratings.py     the raters' answers, checked
figures.py     the measures before and after, and the agreement of raters
mistakes.py    the student's errors in the gap; tagging.py gives each a category, by rule or by
               the teacher as judge
breakdown.py   errors by category

reports/audit.py and reports/breakdown.py print the figures.
"""
