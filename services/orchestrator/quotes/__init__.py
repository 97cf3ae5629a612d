"""Price and duration of a run, estimated by a pilot before the run begins.

pilot.py     a random draw of the pool
quote.py     the pilot's calls, scaled up to the pool
training.py  the training's duration
"""
