"""What we are compared with, each in a process of its own: the engines without a service, and the authors' shape."""
