"""Keys, roles and certificates of callers, checked in front of every call and request."""
