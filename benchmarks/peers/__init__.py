"""Programs to compare with, each a process: engines without a service, the authors' shape."""
