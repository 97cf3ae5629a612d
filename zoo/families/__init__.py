"""A pair of the mini benchmark's four families: what it is taught and how far it has come."""
