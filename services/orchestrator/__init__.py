"""The orchestrator: drives teacher and student through one run. `alignment.py` is the flow, top to bottom.

images/ -> stream.py [admission.py -> annotation.py -> identification.py] -> teachers/ -> parity_set.py
                                                         -> leveling.py -> judgement.py -> promotion.py
                               every record goes to ledger/; summary.py and reports/ read it, and
                               entries.py for runs.py, comparison.py, matching.py and exports/
"""
