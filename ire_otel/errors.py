"""The errors that ire-otel raises; each message names the value, the place and the remedy."""


class IreOtelError(Exception):
    """Base of every error that ire-otel raises on purpose."""


class ConfigurationError(IreOtelError):
    """A setting is misspelt, of the wrong type or out of range."""


class TraceFileError(IreOtelError):
    """A trace file cannot be read: missing, corrupt, or no trace document."""


class SchemaTooNewError(TraceFileError):
    """A trace document was written by a later version of ire-otel."""


class StoreError(IreOtelError):
    """The database refused or could not do what was asked."""


class StoreUnavailableError(StoreError):
    """The database cannot be reached, is locked, or lacks our tables; trying again later may help."""


class RowRefusedError(StoreError):
    """The database refused one row for its content; trying again will not help."""


class JournalVersionError(IreOtelError):
    """A crash journal was written by another version of ire-otel than can be read."""
