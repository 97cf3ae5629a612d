"""The whole platform on one GPU, with models of true shape: `make gpu-check`."""
