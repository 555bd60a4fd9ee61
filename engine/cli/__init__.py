"""What the commands share: arguments, the terminal, signals, the overview of all commands, shell completion."""
