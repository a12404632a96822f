# SPDX-License-Identifier: Apache-2.0
"""Images."""

from __future__ import annotations

from gateway.errors import base


class InvalidAMIIDNotFound(base.Absent):
    """Raised when images do not exist, or are another account's and not public."""

    code = "InvalidAMIID.NotFound"
    one, many = "The image id '[{}]' does not exist", "The image ids '[{}]' do not exist"


class InvalidAMIIDMalformed(base.About):
    """Raised for text that cannot be an image id."""

    code = "InvalidAMIID.Malformed"
    sentence = 'Invalid id: "{}" (expecting "ami-...")'


class InvalidAMIIDUnavailable(base.About):
    """Raised when the image is pending, failed or deregistered."""

    code = "InvalidAMIID.Unavailable"
    sentence = "The image ID '{}' is not available."


class InvalidAMINameDuplicate(base.EC2Error):
    """Raised when the account already has an image of that name."""

    code = "InvalidAMIName.Duplicate"

    def __init__(self, name: str, image_id: str) -> None:
        super().__init__(f"AMI name {name} is already in use by AMI {image_id}")


class InvalidAMINameMalformed(base.Fixed):
    """Raised for a name outside EC2's rule for image names."""

    code = "InvalidAMIName.Malformed"
    sentence = (
        "AMI names must be between 3 and 128 characters long, and may contain letters, numbers,"
        " '(', ')', '.', '-', '/' and '_'"
    )


class InvalidManifest(base.EC2Error):
    """Raised when an image's location cannot be read or may not be; takes the whole message."""


class InvalidAMIAttributeItemValue(base.EC2Error):
    """Raised when an attribute of an image has a value that it cannot have."""

    def __init__(self, value: str, attribute: str) -> None:
        super().__init__(f'Invalid attribute item value "{value}" for {attribute} item type.')


class InvalidBlockDeviceMapping(base.EC2Error):
    """Raised for a disk of a size that cannot be, or named twice; takes the whole message."""


class InvalidConversionTaskIdMalformed(base.About):
    """Raised for an import task that there is not; EC2 calls all of them malformed."""

    code = "InvalidConversionTaskId.Malformed"
    sentence = "Tasks {} not found."


class IncorrectState(base.EC2Error):
    """Raised for what cannot be done in the resource's state; takes the whole message."""


class InvalidUserIDMalformed(base.About):
    """Raised by DescribeImages for an owner or a user that is no account's id and no alias."""

    code = "InvalidUserID.Malformed"
    sentence = 'Invalid user id: "{}"'
