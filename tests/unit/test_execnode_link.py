# SPDX-License-Identifier: Apache-2.0
"""Claims over a real TLS connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from execnode_gateway import INSTANCE, Gateway, specification

from execnode import config, exits, link

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path)
    gateway.spec = specification(b"disk")
    (tmp_path / "token").write_text(gateway.token + "\n")
    yield gateway
    gateway.close()


def claim(gateway: Gateway, place: Path, **changes: str) -> Any:
    settings = {"gateway": gateway.url, "token_file": f"{place}/token"}
    settings |= {"ca_file": str(gateway.certificate)} | changes
    node_link = link.NodeLink(config.from_document(settings))
    try:
        return node_link.claim(
            INSTANCE, {"run": 1, "node": "node", "job": "12.0", "nonce": "nonce"}
        )
    finally:
        node_link.close()


def refused(gateway: Gateway, place: Path, **changes: str) -> exits.EndedError:
    with pytest.raises(exits.EndedError) as raised:
        claim(gateway, place, **changes)
    return raised.value


def test_a_claim_says_who_asks_and_returns_the_spec(gateway: Gateway, tmp_path: Path) -> None:
    assert claim(gateway, tmp_path) == gateway.spec
    assert gateway.claims == [{"run": 1, "node": "node", "job": "12.0", "nonce": "nonce"}]


def test_a_gateway_in_trouble_is_asked_again_with_the_same_nonce(
    gateway: Gateway, tmp_path: Path
) -> None:
    gateway.claim_answers = [(503, {}), (500, {})]
    assert claim(gateway, tmp_path) == gateway.spec
    assert len(gateway.claims) == 3
    assert {c["nonce"] for c in gateway.claims} == {"nonce"}


@pytest.mark.parametrize("status", [404, 409])
def test_a_run_that_is_not_wanted_ends_at_once(
    gateway: Gateway, tmp_path: Path, status: int
) -> None:
    gateway.claim_answers = [(status, {"error": "x", "message": "Run 1 was claimed before."})]
    ended = refused(gateway, tmp_path)
    assert ended.exit is exits.CLAIM_REFUSED
    assert "Run 1 was claimed before." in ended.message
    assert len(gateway.claims) == 1


def test_a_token_that_is_not_accepted_is_the_nodes_error(gateway: Gateway, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("another")
    ended = refused(gateway, tmp_path)
    assert ended.exit is exits.NODE_ERROR
    assert "token" in ended.message


def test_another_gateways_certificate_is_refused_before_the_token_is_sent(
    gateway: Gateway, tmp_path: Path
) -> None:
    place = tmp_path / "other"
    place.mkdir()
    other = Gateway(place)
    other.close()
    ended = refused(gateway, tmp_path, ca_file=str(other.certificate))
    assert ended.exit is exits.GATEWAY_UNREACHABLE
    assert gateway.claims == []


def test_a_gateway_that_stays_away_is_given_up_in_bounded_time(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "CLAIM_SECONDS", 0.3)
    gateway.close()
    ended = refused(gateway, tmp_path)
    assert ended.exit is exits.GATEWAY_UNREACHABLE
    assert "refused" in ended.message
