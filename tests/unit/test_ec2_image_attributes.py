# SPDX-License-Identifier: Apache-2.0
"""Who may launch an image, what its owner says of it, and until when it is good."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from answers import code
from botocore.exceptions import ClientError

from gateway.cloud import image_sharing
from gateway.store import database, launch_permissions, schema

if TYPE_CHECKING:
    from conftest import Endpoint

    from gateway.store.access_keys import AccessKey


def listed(client: Any, **parameters: Any) -> list[str]:
    return [image["ImageId"] for image in client.describe_images(**parameters)["Images"]]


def permissions(client: Any, image: str) -> list[dict[str, str]]:
    answer = client.describe_image_attribute(ImageId=image, Attribute="launchPermission")
    found: list[dict[str, str]] = answer["LaunchPermissions"]
    return found


@pytest.fixture
def friend(endpoint: Endpoint) -> AccessKey:
    return endpoint.new_key()


def test_an_image_that_is_shared_with_an_account_is_there_for_it_and_for_no_other(
    endpoint: Endpoint, ec2: Any, image: str, friend: AccessKey
) -> None:
    theirs, others = endpoint.client(friend), endpoint.client(endpoint.new_key())
    shared = {"Add": [{"UserId": friend.account_id}]}
    ec2.modify_image_attribute(ImageId=image, LaunchPermission=shared)
    assert permissions(ec2, image) == [{"UserId": friend.account_id}]
    assert image in listed(theirs)
    assert not theirs.describe_images(ImageIds=[image])["Images"][0]["Public"]
    theirs.run_instances(ImageId=image, MinCount=1, MaxCount=1)
    with pytest.raises(ClientError) as caught:
        others.run_instances(ImageId=image, MinCount=1, MaxCount=1)
    assert code(caught) == "InvalidAMIID.NotFound"
    ec2.modify_image_attribute(ImageId=image, LaunchPermission={"Remove": shared["Add"]})
    with pytest.raises(ClientError) as caught:
        theirs.describe_images(ImageIds=[image])
    assert code(caught) == "InvalidAMIID.NotFound"
    with pytest.raises(ClientError) as caught:
        theirs.run_instances(ImageId=image, MinCount=1, MaxCount=1)
    assert code(caught) == "InvalidAMIID.NotFound"


def test_the_group_of_all_makes_an_image_public_and_a_reset_takes_everything_back(
    endpoint: Endpoint, ec2: Any, image: str, friend: AccessKey
) -> None:
    theirs = endpoint.client(friend)
    ec2.modify_image_attribute(
        ImageId=image,
        Attribute="launchPermission",
        OperationType="add",
        UserGroups=["all"],
        UserIds=[friend.account_id],
    )
    assert permissions(ec2, image) == [{"Group": "all"}, {"UserId": friend.account_id}]
    assert theirs.describe_images(ImageIds=[image])["Images"][0]["Public"]
    ec2.reset_image_attribute(ImageId=image, Attribute="launchPermission")
    assert permissions(ec2, image) == []
    assert image not in listed(theirs)


def test_permissions_may_be_given_and_taken_again(ec2: Any, image: str, friend: AccessKey) -> None:
    one = [{"UserId": friend.account_id}, {"Group": "all"}]
    for _ in range(2):
        ec2.modify_image_attribute(ImageId=image, LaunchPermission={"Add": [*one, *one]})
    assert len(permissions(ec2, image)) == 2
    for _ in range(2):
        ec2.modify_image_attribute(ImageId=image, LaunchPermission={"Remove": one})
    assert permissions(ec2, image) == []


def test_executable_users_are_those_whom_an_owner_named(
    endpoint: Endpoint, ec2: Any, key: AccessKey, image: str, friend: AccessKey
) -> None:
    theirs = endpoint.client(friend)
    assert listed(ec2, ExecutableUsers=["self"]) == []
    ec2.modify_image_attribute(
        ImageId=image, LaunchPermission={"Add": [{"UserId": friend.account_id}]}
    )
    assert listed(theirs, ExecutableUsers=["self"]) == [image]
    assert listed(theirs, ExecutableUsers=[friend.account_id]) == [image]
    assert image not in listed(theirs, ExecutableUsers=["all"])
    assert listed(theirs, ExecutableUsers=["self"], Owners=["self"]) == []
    assert listed(theirs, Owners=[key.account_id]) == [image]
    # Its owner sees for whom it is; somebody who may launch it does not.
    assert listed(ec2, ExecutableUsers=[friend.account_id]) == [image]
    third = endpoint.new_key()
    ec2.modify_image_attribute(
        ImageId=image, LaunchPermission={"Add": [{"UserId": third.account_id}]}
    )
    assert listed(theirs, ExecutableUsers=[third.account_id]) == []


@pytest.mark.parametrize("member", ["Owners", "ExecutableUsers"])
def test_owners_and_users_that_cannot_be_are_refused(ec2: Any, member: str) -> None:
    with pytest.raises(ClientError, match="somebody") as caught:
        ec2.describe_images(**{member: ["somebody"]})
    assert code(caught) == "InvalidUserID.Malformed"


def test_amazon_s_own_images_are_none(ec2: Any, image: str) -> None:
    assert listed(ec2, Owners=["amazon"]) == []
    assert listed(ec2, Owners=["amazon", "self"]) == [image]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, "InvalidParameterCombination"),
        (
            {"Description": {"Value": "x"}, "LaunchPermission": {"Add": [{"Group": "all"}]}},
            "InvalidParameterCombination",
        ),
        ({"LaunchPermission": {"Add": [{"Group": "some"}]}}, "InvalidAMIAttributeItemValue"),
        ({"LaunchPermission": {"Add": [{"UserId": "12"}]}}, "InvalidAMIAttributeItemValue"),
        ({"LaunchPermission": {"Remove": [{"UserId": "x" * 12}]}}, "InvalidAMIAttributeItemValue"),
        ({"LaunchPermission": {"Add": [{"OrganizationArn": "x"}]}}, "UnsupportedOperation"),
        ({"Attribute": "launchPermission", "UserGroups": ["all"]}, "InvalidParameterValue"),
        ({"Attribute": "launchPermission"}, "MissingParameter"),
        ({"Attribute": "description"}, "MissingParameter"),
        ({"Attribute": "launchPermission", "Value": "x"}, "InvalidParameterCombination"),
        (
            {"Description": {"Value": "x"}, "OperationType": "add"},
            "InvalidParameterCombination",
        ),
        (
            {
                "LaunchPermission": {"Add": [{"UserId": "1" * 12}]},
                "OperationType": "add",
                "UserIds": ["2" * 12],
            },
            "InvalidParameterCombination",
        ),
        ({"Attribute": "nothing", "Value": "x"}, "InvalidParameterValue"),
        ({"Attribute": "kernel", "Value": "x"}, "UnsupportedOperation"),
        ({"ImdsSupport": {"Value": "v2.0"}}, "UnsupportedOperation"),
        ({"Description": {"Value": "x" * 256}}, "InvalidParameterValue"),
    ],
)
def test_changes_that_cannot_be_are_refused_and_nothing_is_changed(
    ec2: Any, image: str, parameters: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ClientError) as caught:
        ec2.modify_image_attribute(ImageId=image, **parameters)
    assert code(caught) == expected
    assert permissions(ec2, image) == []


def test_an_image_tells_when_it_was_launched_last(ec2: Any, image: str) -> None:
    def told() -> dict[str, str]:
        answer = ec2.describe_image_attribute(ImageId=image, Attribute="lastLaunchedTime")
        found: dict[str, str] = answer["LastLaunchedTime"]
        return found

    assert "Value" not in told()
    made = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]
    launched = made["LaunchTime"].replace(microsecond=0, tzinfo=None).isoformat()
    assert told()["Value"].startswith(launched)


@pytest.mark.parametrize("shape", [{"Description": {"Value": "new"}}, {"Attribute": "description"}])
def test_the_description_is_changed_in_both_of_ec2_s_spellings(
    ec2: Any, image: str, shape: dict[str, Any]
) -> None:
    value = {} if "Description" in shape else {"Value": "new"}
    ec2.modify_image_attribute(ImageId=image, **shape, **value)
    answer = ec2.describe_image_attribute(ImageId=image, Attribute="description")
    assert answer["Description"] == {"Value": "new"}
    assert ec2.describe_images(ImageIds=[image])["Images"][0]["Description"] == "new"


def test_attributes_that_no_image_has_are_absent_and_unknown_ones_are_refused(
    ec2: Any, image: str
) -> None:
    for name in ("kernel", "ramdisk", "bootMode", "tpmSupport", "productCodes"):
        answer = ec2.describe_image_attribute(ImageId=image, Attribute=name)
        assert answer["ImageId"] == image
        assert not any(one.get("Value") for one in answer.values() if isinstance(one, dict) and one)
    mapped = ec2.describe_image_attribute(ImageId=image, Attribute="blockDeviceMapping")
    assert mapped["BlockDeviceMappings"][0]["DeviceName"] == "/dev/vda"
    with pytest.raises(ClientError) as caught:
        ec2.describe_image_attribute(ImageId=image, Attribute="colour")
    assert code(caught) == "InvalidParameterValue"
    with pytest.raises(ClientError) as caught:
        ec2.reset_image_attribute(ImageId=image, Attribute="description")
    assert code(caught) == "InvalidParameterValue"


def test_only_its_owner_knows_and_changes_the_attributes_of_a_public_image(
    endpoint: Endpoint, ec2: Any
) -> None:
    image = endpoint.new_image(endpoint.new_key().account_id, public=True)
    private = endpoint.new_image(endpoint.new_key().account_id)
    calls: list[tuple[str, dict[str, Any]]] = [
        ("describe_image_attribute", {"Attribute": "launchPermission"}),
        ("modify_image_attribute", {"Description": {"Value": "mine"}}),
        ("modify_image_attribute", {"LaunchPermission": {"Remove": [{"Group": "all"}]}}),
        ("reset_image_attribute", {"Attribute": "launchPermission"}),
        ("enable_image_deprecation", {"DeprecateAt": datetime.now(UTC) + timedelta(days=1)}),
        ("disable_image_deprecation", {}),
    ]
    for name, parameters in calls:
        with pytest.raises(ClientError, match=f"Not authorized for image:{image}") as caught:
            getattr(ec2, name)(ImageId=image, **parameters)
        assert code(caught) == "AuthFailure"
        with pytest.raises(ClientError) as caught:
            getattr(ec2, name)(ImageId=private, **parameters)
        assert code(caught) == "InvalidAMIID.NotFound"
    assert ec2.describe_images(ImageIds=[image])["Images"][0]["Public"]
    with database.writing(endpoint.database) as db:
        db.execute(schema.images.update().where(schema.images.c.id == image).values(public=False))


def test_an_image_is_for_no_more_accounts_than_ec2_allows(
    endpoint: Endpoint, ec2: Any, image: str
) -> None:
    with database.writing(endpoint.database) as db:
        full = [f"{number:012}" for number in range(image_sharing.MAX_ACCOUNTS)]
        launch_permissions.insert(db, image, full)
    with pytest.raises(ClientError) as caught:
        ec2.modify_image_attribute(ImageId=image, LaunchPermission={"Add": [{"UserId": "9" * 12}]})
    assert code(caught) == "ResourceLimitExceeded"
    ec2.modify_image_attribute(
        ImageId=image,
        LaunchPermission={"Add": [{"UserId": "9" * 12}], "Remove": [{"UserId": "0" * 12}]},
    )


def test_a_deprecated_image_is_its_owner_s_to_see_and_for_others_by_its_name(
    endpoint: Endpoint, ec2: Any, image: str, friend: AccessKey
) -> None:
    theirs = endpoint.client(friend)
    ec2.modify_image_attribute(
        ImageId=image, LaunchPermission={"Add": [{"UserId": friend.account_id}]}
    )
    at = datetime.now(UTC) + timedelta(days=1)
    ec2.enable_image_deprecation(ImageId=image, DeprecateAt=at)
    shown = theirs.describe_images(ImageIds=[image])["Images"][0]
    assert shown["DeprecationTime"].endswith(":00.000Z"), "EC2 deprecates at whole minutes"
    assert image in listed(theirs), "it is not yet"
    with database.writing(endpoint.database) as db:
        past = datetime.now(UTC) - timedelta(days=1)
        row = schema.images.c.id == image
        db.execute(schema.images.update().where(row).values(deprecated_at=past))
    assert image not in listed(theirs)
    assert image in listed(theirs, IncludeDeprecated=True)
    assert image in listed(theirs, ImageIds=[image])
    assert image in listed(ec2)
    theirs.run_instances(ImageId=image, MinCount=1, MaxCount=1)
    ec2.disable_image_deprecation(ImageId=image)
    assert "DeprecationTime" not in theirs.describe_images(ImageIds=[image])["Images"][0]
    assert image in listed(theirs)


@pytest.mark.parametrize(("days", "public"), [(-1, False), (4000, False), (800, True)])
def test_a_deprecation_that_has_passed_or_is_too_far_away_is_refused(
    endpoint: Endpoint, ec2: Any, key: AccessKey, days: int, public: bool
) -> None:
    image = endpoint.new_image(key.account_id, public=public)
    with pytest.raises(ClientError, match="deprecation time") as caught:
        ec2.enable_image_deprecation(
            ImageId=image, DeprecateAt=datetime.now(UTC) + timedelta(days=days)
        )
    assert code(caught) == "InvalidParameterValue"
    ec2.deregister_image(ImageId=image)


def test_permissions_go_with_the_image(
    endpoint: Endpoint, ec2: Any, image: str, friend: AccessKey
) -> None:
    ec2.modify_image_attribute(
        ImageId=image, LaunchPermission={"Add": [{"UserId": friend.account_id}]}
    )
    ec2.deregister_image(ImageId=image)
    with pytest.raises(ClientError) as caught:
        endpoint.client(friend).describe_images(ImageIds=[image])
    assert code(caught) == "InvalidAMIID.NotFound"
    with database.reading(endpoint.database) as db:
        assert launch_permissions.select(db, [image]) == {}


def test_a_change_that_names_nobody_is_refused(ec2: Any, image: str) -> None:
    nobody = {"Add": [{"OrganizationArn": ""}]}
    with pytest.raises(ClientError) as caught:
        ec2.modify_image_attribute(ImageId=image, LaunchPermission=nobody)
    assert code(caught) == "MissingParameter"


def test_an_attribute_may_be_named_as_the_member_is(ec2: Any, image: str) -> None:
    shared = {"Add": [{"UserId": "123456789012"}]}
    ec2.modify_image_attribute(ImageId=image, Attribute="LaunchPermission", LaunchPermission=shared)
    ec2.modify_image_attribute(
        ImageId=image, Attribute="Description", Description={"Value": "told"}
    )
    told = ec2.describe_image_attribute(ImageId=image, Attribute="Description")
    assert told["Description"] == {"Value": "told"}
    told = ec2.describe_image_attribute(ImageId=image, Attribute="LaunchPermission")
    assert told["LaunchPermissions"] == shared["Add"]
    ec2.reset_image_attribute(ImageId=image, Attribute="LaunchPermission")
    told = ec2.describe_image_attribute(ImageId=image, Attribute="launchPermission")
    assert told["LaunchPermissions"] == []
