"""Users' requests, audited by the teacher, as a source of gaps."""
