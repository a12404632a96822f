# SPDX-License-Identifier: Apache-2.0
"""Every error that the EC2 endpoint answers with: one class for one error code.

The class name is the code without its dots; the constructor takes the ids and values that the
message names, and the message is worded as AWS words it. ``status`` is the HTTP status: 400 where
a class does not say another. A class stands in the module of its family, and is used from here:

- ``access``: who asks;
- ``request``: how it is asked;
- ``instances``, ``images``, ``keypairs``, ``networks``, ``tags``, ``volumes``: what it names, and
  how much of it;
- ``absent``: what there is none of here;
- ``service``: our own faults and limits.

docs/reference/errors.md has them all. Source: "Error codes" and "Common errors" of EC2's API
reference.
"""

# ruff: noqa: F403 - a module of errors has nothing in it but what belongs here
from gateway.errors.absent import *
from gateway.errors.access import *
from gateway.errors.base import EC2Error as EC2Error
from gateway.errors.images import *
from gateway.errors.instances import *
from gateway.errors.keypairs import *
from gateway.errors.networks import *
from gateway.errors.request import *
from gateway.errors.service import *
from gateway.errors.tags import *
from gateway.errors.volumes import *
