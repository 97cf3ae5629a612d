"""`mpa-orch`: commands by group, their options, how they end."""
