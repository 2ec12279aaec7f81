"""What goes wrong with a record."""


class RecordError(Exception):
    """The record cannot be written or read; the message is one clear line for the user."""
