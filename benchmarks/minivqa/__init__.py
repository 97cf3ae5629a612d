"""Results on the mini benchmark (zoo/minivqa), judged: the paper's claims, and annotations against the truth."""
