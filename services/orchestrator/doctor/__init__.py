"""Whether this machine is ready: GPU, libraries, memory, disk, ports, and models that fit."""
