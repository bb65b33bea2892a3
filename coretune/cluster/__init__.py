"""Ray: starting a local cluster or attaching to one."""
