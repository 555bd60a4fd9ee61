"""The one kind of error that a user of the loaders can cause."""


class DataError(ValueError):
    """Bad data, a bad policy or a bad loader setting: one line that says what came, what is allowed, what to do."""
