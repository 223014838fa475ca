"""Recording: what runs inside the program under observation, and the collector that writes the log."""

TARGET_MODULES = (
    "tracekit",
    "tracekit._version",
    "tracekit.record",
    "tracekit.record.active",
    "tracekit.record.bootstrap",
    "tracekit.record.inventory",
    "tracekit.record.naming",
    "tracekit.record.portable",
    "tracekit.record.ring",
    "tracekit.record.signals",
    "tracekit.record.slots",
)
"""The modules that the program under observation imports. They use the standard library only."""
