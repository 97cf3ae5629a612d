"""The algorithm of the Model Parity Aligner: frozen dataclasses and pure functions, standard library only."""
