# SPDX-License-Identifier: Apache-2.0
"""A launch as text, for requests that launch later or again."""

from __future__ import annotations

import base64
import json

from gateway.cloud.disks import Device
from gateway.cloud.instances import Launch


def write(asked: Launch) -> str:
    """Return what one instance of a launch is made of, as JSON; read by :func:`read`."""
    alone = asked._replace(minimum=1, maximum=1, token=None)
    told = alone._asdict()
    told |= {name: dict(told[name]) for name in ("tags", "volume_tags", "metadata")}
    told["devices"] = [list(device) for device in asked.devices]
    if asked.user_data is not None:
        told["user_data"] = base64.b64encode(asked.user_data).decode("ascii")
    return json.dumps(told, sort_keys=True)


def read(text: str) -> Launch:
    """Return the launch; what a later release wrote beside it is left out."""
    told = {name: value for name, value in json.loads(text).items() if name in Launch._fields}
    told["devices"] = [Device(*device) for device in told["devices"]]
    if told["user_data"] is not None:
        told["user_data"] = base64.b64decode(told["user_data"])
    return Launch(**told)
