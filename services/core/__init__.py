"""Algorithm of the Model Parity Aligner: dataclasses and pure functions, no libraries."""
