# SPDX-License-Identifier: Apache-2.0
"""Requests that come too fast: the buckets, and what stock clients make of the answer."""

from __future__ import annotations

import dataclasses
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from answers import code
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from served import serving
from werkzeug.serving import make_server

from gateway import config, throttle
from gateway.app import create_app
from gateway.errors import RequestLimitExceeded
from gateway.throttle import Bucket, Throttle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from conftest import Endpoint

    from gateway.store.access_keys import AccessKey

NEVER = 1e-6
"""A rate at which no test sees a token come back."""

FIRST, SECOND = "000000000000", "999999999999"


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def granted(tokens: Throttle, account: str = FIRST, kind: str = throttle.DESCRIBE) -> int:
    """Take tokens one by one until there is none; return how many there were."""
    for count in range(100):
        try:
            tokens.take(account, kind)
        except RequestLimitExceeded:
            return count
    return 100


def buckets(**given: tuple[float, int]) -> Mapping[str, Bucket]:
    return {kind: Bucket(*pair) for kind, pair in given.items()}


def test_a_full_bucket_holds_the_burst_and_is_filled_at_the_rate(clock: Clock) -> None:
    tokens = Throttle(buckets(describe=(2.0, 5)), clock)
    assert granted(tokens) == 5
    clock.now += 0.4
    assert granted(tokens) == 0
    clock.now += 0.2
    assert granted(tokens) == 1
    clock.now += 1.5
    assert granted(tokens) == 3
    clock.now += 3600
    assert granted(tokens) == 5


def test_accounts_and_kinds_have_buckets_of_their_own(clock: Clock) -> None:
    tokens = Throttle(buckets(describe=(1.0, 3), change=(1.0, 2)), clock)
    assert granted(tokens) == 3
    assert granted(tokens, SECOND) == 3
    assert granted(tokens, FIRST, throttle.CHANGE) == 2


def test_too_few_tokens_are_not_taken(clock: Clock) -> None:
    tokens = Throttle(buckets(launch=(1.0, 10)), clock)
    tokens.take(FIRST, throttle.LAUNCH, 7)
    with pytest.raises(RequestLimitExceeded):
        tokens.take(FIRST, throttle.LAUNCH, 4)
    tokens.take(FIRST, throttle.LAUNCH, 3)


def test_more_than_a_bucket_can_hold_goes_through_a_full_one(clock: Clock) -> None:
    tokens = Throttle(buckets(launch=(1.0, 10)), clock)
    tokens.take(FIRST, throttle.LAUNCH, 1000)
    assert granted(tokens, FIRST, throttle.LAUNCH) == 0


def test_a_rate_of_nought_is_no_limit(clock: Clock) -> None:
    tokens = Throttle(buckets(describe=(0.0, 1)), clock)
    assert granted(tokens) == 100


def test_of_too_many_accounts_the_one_that_rested_longest_begins_again(clock: Clock) -> None:
    tokens = Throttle(buckets(describe=(NEVER, 2)), clock)
    colliding = [f"{number * throttle.SLOTS:012}" for number in range(throttle.WINDOW + 1)]
    for account in colliding[:-1]:
        clock.now += 1
        assert granted(tokens, account) == 2
    assert granted(tokens, colliding[-1]) == 2
    assert granted(tokens, colliding[1]) == 0
    assert granted(tokens, colliding[0]) == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DESCRIBE_RATE", "-1"),
        ("CHANGE_RATE", "nan"),
        ("LAUNCH_RATE", "inf"),
        ("LAUNCH_BURST", "0"),
    ],
)
def test_a_rate_and_a_burst_that_make_no_sense_are_refused(name: str, value: str) -> None:
    with pytest.raises(config.SettingsError, match=name.partition("_")[0].lower()):
        config.load(environment={f"CONDOR_CLOUD_{name}": value})


@pytest.fixture
def limited(endpoint: Endpoint) -> Callable[..., Any]:
    """Serve the endpoint's database with other limits."""

    @contextmanager
    def serve(**limits: float) -> Iterator[Endpoint]:
        app = create_app(dataclasses.replace(endpoint.settings, **limits))
        server = make_server("127.0.0.1", 0, app, threaded=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield dataclasses.replace(endpoint, url=f"http://127.0.0.1:{server.port}")
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    return serve


def test_the_answer_has_the_very_text_that_htcondor_looks_for(
    limited: Callable[..., Any], key: AccessKey
) -> None:
    with limited(describe_rate=NEVER, describe_burst=1) as endpoint:
        endpoint.client(key).describe_regions()
        body = b"Action=DescribeRegions&Version=2012-10-01"
        asked = AWSRequest("POST", endpoint.url, data=body)
        asked.headers["Content-Type"] = "application/x-www-form-urlencoded"
        SigV4Auth(Credentials(key.id, key.secret), "ec2", "condor").add_auth(asked)
        sent = urllib.request.Request(endpoint.url, body, dict(asked.headers))  # noqa: S310 - http
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(sent)  # noqa: S310 - http
        with caught.value as answer:
            assert answer.code == 503
            assert (
                b"<Error><Code>RequestLimitExceeded</Code>"
                b"<Message>Request limit exceeded.</Message></Error>"
            ) in answer.read()


@pytest.mark.parametrize("mode", ["legacy", "standard", "adaptive"])
def test_a_stock_client_tries_again_and_succeeds(
    limited: Callable[..., Any], key: AccessKey, mode: str
) -> None:
    with limited(describe_rate=4.0, describe_burst=1) as endpoint:
        client = boto3.client(
            "ec2",
            endpoint_url=endpoint.url,
            region_name="condor",
            aws_access_key_id=key.id,
            aws_secret_access_key=key.secret,
            config=Config(retries={"mode": mode, "max_attempts": 8}),
        )
        refused: list[str] = []

        def look(parsed: Mapping[str, Any], **_: object) -> None:
            refused.append(parsed.get("Error", {}).get("Code", ""))

        client.meta.events.register("response-received.ec2.DescribeRegions", _parsed(look))
        answers = [client.describe_regions() for _ in range(3)]
    assert all(answer["Regions"][0]["RegionName"] == "condor" for answer in answers)
    assert "RequestLimitExceeded" in refused
    assert sum(answer["ResponseMetadata"]["RetryAttempts"] for answer in answers) >= 1


def _parsed(look: Callable[..., None]) -> Callable[..., None]:
    return lambda parsed_response, **_: look(parsed_response or {})


def test_launches_cost_what_they_launch_and_dry_runs_nothing(
    limited: Callable[..., Any], key: AccessKey, image: str
) -> None:
    with limited(launch_rate=NEVER, launch_burst=5) as endpoint:
        ec2 = endpoint.client(key)
        for _ in range(3):
            with pytest.raises(ClientError) as caught:
                ec2.run_instances(ImageId=image, MinCount=5, MaxCount=5, DryRun=True)
            assert code(caught) == "DryRunOperation"
        ec2.run_instances(ImageId=image, MinCount=1, MaxCount=4)
        with pytest.raises(ClientError) as caught:
            ec2.run_instances(ImageId=image, MinCount=1, MaxCount=2)
        assert code(caught) == "RequestLimitExceeded"
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503
        ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)
        assert sum(len(r["Instances"]) for r in ec2.describe_instances()["Reservations"]) == 5


def test_changes_do_not_use_up_what_descriptions_need(
    limited: Callable[..., Any], key: AccessKey
) -> None:
    with limited(change_rate=NEVER, change_burst=1) as endpoint:
        ec2 = endpoint.client(key)
        ec2.delete_key_pair(KeyName="none")
        with pytest.raises(ClientError) as caught:
            ec2.delete_key_pair(KeyName="none")
        assert code(caught) == "RequestLimitExceeded"
        for _ in range(5):
            ec2.describe_key_pairs()


def test_the_token_service_says_it_in_its_own_words(
    limited: Callable[..., Any], key: AccessKey
) -> None:
    with limited(describe_rate=NEVER, describe_burst=1) as endpoint:
        sts = endpoint.client(key, "sts")
        sts.get_caller_identity()
        with pytest.raises(ClientError) as caught:
            sts.get_caller_identity()
    assert code(caught) == "Throttling"


def test_all_workers_take_from_the_same_bucket(endpoint: Endpoint, key: AccessKey) -> None:
    def ask(_: int) -> str:
        try:
            client.describe_regions()
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return ""

    limits = {"workers": 4, "describe_rate": NEVER, "describe_burst": 23}
    with serving(endpoint, **limits) as url, ThreadPoolExecutor(16) as pool:
        client = dataclasses.replace(endpoint, url=url).client(key)
        answers = list(pool.map(ask, range(80)))
    assert answers.count("") == 23
    assert answers.count("RequestLimitExceeded") == 57
