"""The error of a record that can't be read or written."""


class RecordError(Exception):
    """The record cannot be written or read; the message is one clear line for the user."""
