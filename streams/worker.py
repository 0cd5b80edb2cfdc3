"""Leaf module for Faust's own command line: `faust -A streams.worker worker`. Nobody imports it.

Reads the config file that `CONVERSION_MONITOR_CONFIG` names, else `monitor.yaml` in the working directory.
"""

import os
from pathlib import Path

from streams.factory import create_app
from streams.settings import load_settings

app = create_app(load_settings(Path(os.environ.get("CONVERSION_MONITOR_CONFIG", "monitor.yaml")), os.environ))
