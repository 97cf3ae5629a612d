"""Unlabeled images, wherever they are kept: each kind of place is a module, and `opening.py` tells which one is meant.

opening.py -> folder.py | manifest.py | tables.py | tars.py | zips.py -> reading.py, a few images ahead of the run
                     all of them read through store.py, which knows fsspec and has patience
"""
