"""The errors that a user sees as one or two lines, without a traceback.

The command line prints the message and exits with the class's `exit_code`; Python callers catch them like any exception.
A message names the file, flag or key at fault and says what to do.
"""


class AudiojaxError(Exception):
    """Work could not be done: a damaged file, too little disk, a run that stopped. Exit code 1."""

    exit_code = 1


class UsageError(AudiojaxError):
    """The request itself is off: an unknown key, a missing folder, an empty query. Exit code 2."""

    exit_code = 2
