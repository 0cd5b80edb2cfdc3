"""Tells that a conversion rate fell: baseline, detectors, alerts. Pure, vectorised over series."""
