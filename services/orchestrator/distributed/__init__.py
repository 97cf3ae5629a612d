"""PA and PI on a Ray cluster (`--engine ray`), through the very functions that the local stream calls.

    flow.py      the driver: admits images, hands out what is unfinished, commits what comes back
    cluster.py   the cluster: joined, or started here
    pipeline.py  the Ray Data pipelines; `ray` is imported here and in cluster.py, nowhere else
    stages.py    what runs in tasks and actors: annotate | answer | identify
    models.py    the model that a stage asks: a service, or an engine in the actor itself
    work.py      what driver and machines tell each other
    excerpt.py   what a ledger knows of one image, as it travels

Between the stages travel names of images and rows of the ledger, never pixels. The run's ledger is the only checkpoint.
"""
