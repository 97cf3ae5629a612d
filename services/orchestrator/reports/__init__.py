"""What people see: each a table on a terminal, lines elsewhere, JSON where it is asked for."""
