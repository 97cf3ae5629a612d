"""Attacks on real service processes over HTTP and gRPC, each next to a legitimate caller."""
