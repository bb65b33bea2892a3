"""The `coretune` command: Typer for arguments, Rich for the screen. One file per command or group of commands."""
