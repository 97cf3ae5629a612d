"""What a run costs, and what it need not: the teacher cache, budgets, quotes."""
