"""A file of keys for tests."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from services.rpc.access.access import Access
from services.rpc.access.keys import add_key, new_key, revoke_key
from services.rpc.access.settings import AccessSettings


@dataclass
class Keys:
    """A file of keys, and the texts of its keys by name."""

    path: Path
    tokens: dict = field(default_factory=dict)
    ids: dict = field(default_factory=dict)

    def add(self, name, *roles, limits=None, **how):
        key, token = new_key(name, list(roles), **how)
        add_key(self.path, replace(key, limits=limits) if limits else key)
        self.ids[name] = key.id
        if token:  # a certificate has none
            self.tokens[name] = token
        return token

    def revoke(self, name):
        revoke_key(self.path, self.ids[name])

    def access(self, audit=None, **settings):
        return Access(AccessSettings("MPA_STUDENT_", self.path, **settings), audit)


def one_key_for_each_role(folder):
    """Keys by their role's name."""
    keys = Keys(folder / "keys.json")
    for role in ("ask", "operate", "train", "read"):
        keys.add(role, role)
    return keys


def bearing(token):
    """Metadata of a call with a key."""
    return (("authorization", f"Bearer {token}"),)
