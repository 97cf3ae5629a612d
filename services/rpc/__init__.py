"""The gRPC toolbox: serving, connecting, error <-> status, dataclass <-> proto."""
