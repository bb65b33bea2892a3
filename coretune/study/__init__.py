"""Studies: plan, search, engine, resume."""
