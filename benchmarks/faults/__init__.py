"""Faults at random moments of uploads, trainings, swaps and promotions."""
