# SPDX-License-Identifier: Apache-2.0
"""GetCallerIdentity on the EC2 endpoint, asked by a stock STS client."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
from answers import code
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from conftest import Endpoint

    from gateway.store.access_keys import AccessKey


@pytest.fixture
def sts(endpoint: Endpoint, key: AccessKey) -> Any:
    return endpoint.client(key, "sts")


def test_a_client_learns_whose_key_it_signs_with(sts: Any, key: AccessKey) -> None:
    answer = sts.get_caller_identity()
    assert answer["Account"] == key.account_id
    assert answer["Arn"] == f"arn:aws:iam::{key.account_id}:root"
    assert answer["UserId"] == key.account_id
    metadata = answer["ResponseMetadata"]
    assert metadata["RequestId"] == metadata["HTTPHeaders"]["x-amzn-requestid"]


def test_a_wrong_signature_is_refused_in_the_words_of_sts(
    endpoint: Endpoint, key: AccessKey
) -> None:
    forged = dataclasses.replace(endpoint).client(key._replace(secret="x" * 40), "sts")
    with pytest.raises(ClientError) as caught:
        forged.get_caller_identity()
    assert code(caught) == "SignatureDoesNotMatch"
    assert caught.value.response["Error"]["Type"] == "Sender"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_another_action_of_sts_is_refused(sts: Any) -> None:
    with pytest.raises(ClientError, match="GetSessionToken") as caught:
        sts.get_session_token()
    assert code(caught) == "InvalidAction"


def test_a_parameter_that_there_is_not_is_refused(sts: Any) -> None:
    def add(params: dict[str, Any], **_: object) -> None:
        params["body"]["Sur<prise"] = "1"

    sts.meta.events.register("before-call.sts.GetCallerIdentity", add)
    with pytest.raises(ClientError, match="Sur<prise") as caught:
        sts.get_caller_identity()
    assert code(caught) == "UnknownParameter"


def test_an_unknown_key_is_told_apart_from_a_wrong_signature(
    endpoint: Endpoint, key: AccessKey
) -> None:
    unknown = endpoint.client(key._replace(id="AKIA0000000000000000"), "sts")
    with pytest.raises(ClientError) as caught:
        unknown.get_caller_identity()
    assert code(caught) == "InvalidClientTokenId"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
