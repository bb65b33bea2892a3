"""Executes runs and evaluations: the only place that puts the parts together."""
