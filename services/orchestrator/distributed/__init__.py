"""PA and PI on a Ray cluster (`--engine ray`), through the functions of the local stream.

    flow.py      the driver: admits images, hands out unfinished ones, commits results
    cluster.py   the cluster: joined, or started here
    pipeline.py  the Ray Data pipelines; only this module, cluster.py and brake.py import `ray`
    brake.py     stops the stages after an error, and knows the blocks that have begun
    stages.py    work of tasks and actors: annotate | answer | identify
    models.py    the model of a stage: a service, or an engine in the actor itself
    work.py      messages between driver and machines

Names of images and rows of the ledger travel between the stages (run/ledger/excerpt.py),
never pixels. The run's ledger is the only checkpoint.
"""
