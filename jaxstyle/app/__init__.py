"""Everything that touches disk, network, clock or screen."""
