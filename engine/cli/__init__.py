"""Shared by the commands: arguments, the terminal, signals, the overview of all commands, shell completion."""
