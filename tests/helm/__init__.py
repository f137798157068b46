"""The chart: linted, rendered, and looked at."""
