"""What people think of a run's annotations, before and after PI (paper, Table 4).

criteria.py   what raters are asked
sheet.py      a page of items and questions as data
drawing.py    the sample: from the ledger, blind and seeded
page.py       the sheet as one HTML file; page.html
key.py        which item is from where; never given to raters
ratings.py    what raters saved, checked
figures.py    the figures before and after, and how far raters agree
report.py     for people and programs
"""
