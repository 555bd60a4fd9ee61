"""Reports, model cards and the Hub."""
