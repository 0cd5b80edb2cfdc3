"""The meaning: windows, visitors, goals, sessions, rates, detectors, snapshot, metrics. No Kafka, no clock."""
