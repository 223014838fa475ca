"""What the simulator says of other settings, held against runs under these settings."""
