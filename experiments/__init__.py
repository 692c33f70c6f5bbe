"""The composition root: the command line, configurations, benchmarks, the embedded data, reports."""
