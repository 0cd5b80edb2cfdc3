"""Tells that a conversion rate fell: baseline, detectors, alerts. Pure, vectorised over series.

The way in is `Detector` (`detector.py`); it is fed closed minutes and answers with `AlertChange`.
"""

from monitor.detection.config import DetectionConfig, SeriesKey, Span
from monitor.detection.detector import Detector
from monitor.detection.lifecycle import AlertChange
from monitor.detection.state import StateVersionError

__all__ = ["AlertChange", "DetectionConfig", "Detector", "SeriesKey", "Span", "StateVersionError"]
