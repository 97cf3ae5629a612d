"""Benchmarks of speed, and their figures."""
