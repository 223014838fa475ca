"""Recording: what runs inside the program under observation, and the collector that writes the log."""
