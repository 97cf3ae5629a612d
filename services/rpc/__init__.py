"""The one gRPC toolbox: serve, connect, error <-> status, dataclass <-> proto."""
