"""The command: everything that touches disk, network, clock or screen. It may import every wing of the library."""
