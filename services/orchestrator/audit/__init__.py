"""What people think of a run's annotations, before and after PI (paper, Table 4), and what its student lacks (Table 8).

studies.py     what a page asks: criteria.py about annotations, the core's knowledge_gaps.py about errors
sheet.py       a page's items and questions as data
candidates.py  what there is to draw from; drawing.py draws, by seed and blind
page.py        a sheet as one HTML file; page.html
key.py         where each item is from; never given to raters
ratings.py     what raters saved, checked
figures.py     the measures before and after, and how far raters agree
mistakes.py    the student's errors in the gap; tagging.py says what each lacks: by rule, else by the teacher as judge
breakdown.py   errors by category
report.py      for people and programs; breakdown_report.py of errors
"""
