"""The one kind of error a user can cause in this room."""


class DataError(ValueError):
    """Bad data, a bad policy or a bad loader setting: one line that says what came, what is allowed, what to do."""
