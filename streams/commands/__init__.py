"""One module per command of `conversion-monitor`."""
