"""What users ask the endpoint, audited by the teacher, as a source of gaps."""
