# SPDX-License-Identifier: Apache-2.0
"""From documents to bytes: XML by xmltodict, JSON by the standard library."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import xmltodict

from gateway.deltacloud.asked import XML

if TYPE_CHECKING:
    from collections.abc import Mapping

# All that XML 1.0 cannot carry.
_ILLEGAL = re.compile(r"[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def body(content_type: str, xml: Mapping[str, Any], plain: object) -> bytes:
    """Return the answer's body.

    ``xml`` is in xmltodict's form: one root, ``@name`` for attributes, ``#text``, lists for
    repeated elements. ``plain`` is what JSON says of the same.
    """
    if content_type == XML:
        text: str = xmltodict.unparse(_carried(xml), short_empty_elements=False)
        return text.encode()
    return json.dumps(plain, ensure_ascii=False).encode("utf-8", "replace")


def _carried(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _carried(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_carried(member) for member in value]
    return _ILLEGAL.sub("\ufffd", value) if isinstance(value, str) else value
