"""The error class for mistakes of users of the loaders."""


class DataError(ValueError):
    """Bad data, policy or loader setting: one line with the value, what is allowed, and what to do."""
