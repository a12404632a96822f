# SPDX-License-Identifier: Apache-2.0
"""Why what an image's location names cannot be read."""


class SourceError(Exception):
    """The location cannot be read, and trying again would not help; one sentence."""


class BrokenSourceError(Exception):
    """Reading failed; another attempt may go better. One sentence."""
