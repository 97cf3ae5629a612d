"""Attacks on the services as they are run: over HTTP and gRPC, with a legitimate caller next to each who must be served."""
