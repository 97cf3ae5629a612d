"""Environment variables of a service."""


class Variables(dict):
    """Environment variables that remember which of them were looked up."""

    def __init__(self, **given):
        super().__init__(given)
        self.names = set()

    def get(self, name, default=None):
        self.names.add(name)
        return super().get(name, default)
