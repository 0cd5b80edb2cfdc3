"""Faust agents: each body is wiring, what it decides is in `monitor`."""
