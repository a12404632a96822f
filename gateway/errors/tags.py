# SPDX-License-Identifier: Apache-2.0
"""Tags."""

from __future__ import annotations

from gateway.errors import base


class InvalidID(base.About):
    """Raised by the tag actions for an id that belongs to no kind of resource."""

    sentence = "The ID '{}' is not valid"


class TagLimitExceeded(base.About):
    """Raised for more tags on one resource than EC2 allows (50)."""

    sentence = "The maximum number of tags for a resource is {}."
