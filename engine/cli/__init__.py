"""What the commands share: arguments, the terminal, signals, shell completion."""
