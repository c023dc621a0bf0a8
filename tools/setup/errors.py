"""What can go wrong while the machine is being prepared.

SetupError
├── Missing      something that only the user can install; the message says what
└── BuildFailed  a build that should have worked; the message ends with its last lines
"""


class SetupError(Exception):
    """Shown to the user as it is, without a traceback."""


class Missing(SetupError):
    """A program that is not there and that we can't install from here."""


class BuildFailed(SetupError):
    """A build step that ended with an error."""
