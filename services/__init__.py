"""Model Parity Aligner: a small vision-language model closes its knowledge gaps to a large one.

    images -> annotate (teacher writes Q, A)            core/annotation.py   PA
           -> answer   (student first, teacher blind)   teacher/, student/
           -> identify (teacher right, student wrong)   core/parity.py       PI
           -> level    (train the student on the gap)   student/training.py  PL
           -> evaluate (candidate against live)         core/evaluation.py
           -> promote  (hot swap under traffic)         student/slots.py

Import rule: teacher | student | orchestrator -> rpc -> engines -> files | environment -> core.
`make check` enforces it.
"""
