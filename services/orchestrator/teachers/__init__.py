"""Several teachers as one: a panel that votes, and what it thinks of an annotation."""
