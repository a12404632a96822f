# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from answers import code
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_ssh_private_key,
)

if TYPE_CHECKING:
    from conftest import Endpoint

RSA = (
    "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDGp8mfVJdGbfR3xiV5qBSKE4ReiUkwXNCc9b29y4nmZf2c1n5ee6"
    "vzjymeO3kPBpxlu7ExBD/fUG5LwX168lKxxKkRa6d2ujc81TpCq7jqXurooMSAesvfT4qkkKXzK6n4aqFC6HAylaUx"
    "USwBqyZ9ZvhVama3Rnhl3aElznHZhQ=="
)
# openssl rsa -pubin -outform DER | openssl md5 -c
RSA_FINGERPRINT = "a2:3d:a9:a3:34:9f:4a:8f:57:c9:0d:5b:e1:ff:65:56"
RSA_PEM = """-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDGp8mfVJdGbfR3xiV5qBSKE4Re
iUkwXNCc9b29y4nmZf2c1n5ee6vzjymeO3kPBpxlu7ExBD/fUG5LwX168lKxxKkR
a6d2ujc81TpCq7jqXurooMSAesvfT4qkkKXzK6n4aqFC6HAylaUxUSwBqyZ9ZvhV
ama3Rnhl3aElznHZhQIDAQAB
-----END PUBLIC KEY-----
"""
RSA_DER = "".join(RSA_PEM.splitlines()[1:-1])
RSA_RFC4716 = """---- BEGIN SSH2 PUBLIC KEY ----
Comment: "1024-bit RSA, converted by \\
somebody from OpenSSH"
AAAAB3NzaC1yc2EAAAADAQABAAAAgQDGp8mfVJdGbfR3xiV5qBSKE4ReiUkwXNCc9b29y4
nmZf2c1n5ee6vzjymeO3kPBpxlu7ExBD/fUG5LwX168lKxxKkRa6d2ujc81TpCq7jqXuro
oMSAesvfT4qkkKXzK6n4aqFC6HAylaUxUSwBqyZ9ZvhVama3Rnhl3aElznHZhQ==
---- END SSH2 PUBLIC KEY ----
"""
ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMmB1s4/fq2Aezwn3qWa3WHt6QJgZuuCpRFdDMLxNm8i"
# ssh-keygen -l, with the base64 padding that EC2 keeps and OpenSSH drops
ED25519_FINGERPRINT = "xc11FJzYMOqB8bzM5sfgZVulgDplDYW/S48gAnIAAEg="


@pytest.mark.parametrize(
    "material",
    [RSA, RSA + " somebody@somewhere\n", RSA_PEM, RSA_DER, base64.b64decode(RSA_DER), RSA_RFC4716],
    ids=["openssh", "with-comment", "pem", "base64-der", "der", "rfc4716"],
)
def test_a_public_key_is_imported_in_any_of_its_forms(ec2: Any, material: str | bytes) -> None:
    imported = ec2.import_key_pair(KeyName="mine", PublicKeyMaterial=material)
    assert imported["KeyFingerprint"] == RSA_FINGERPRINT
    described = ec2.describe_key_pairs(IncludePublicKey=True)["KeyPairs"][0]
    assert described["KeyPairId"] == imported["KeyPairId"]
    assert described["KeyType"] == "rsa"
    assert described["PublicKey"] == f"{RSA} mine"


def test_an_imported_ed25519_key_has_openssh_s_fingerprint(ec2: Any) -> None:
    imported = ec2.import_key_pair(KeyName="mine", PublicKeyMaterial=ED25519)
    assert imported["KeyFingerprint"] == ED25519_FINGERPRINT
    assert ec2.describe_key_pairs()["KeyPairs"][0]["KeyType"] == "ed25519"


def openssh(public: Any) -> bytes:
    return bytes(public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))


@pytest.mark.parametrize(
    "material",
    [
        b"",
        b"\x00\xff",
        b"ssh-rsa",
        b"ssh-rsa AAAA",
        b"ssh-ed25519 " + RSA.split()[1].encode(),
        b"-----BEGIN PUBLIC KEY-----\nMIGf\n-----END PUBLIC KEY-----",
        b"---- BEGIN SSH2 PUBLIC KEY ----\n////\n---- END SSH2 PUBLIC KEY ----",
        RSA.encode() * 100,
        openssh(ec.generate_private_key(ec.SECP256R1()).public_key()),
        b"ssh-dss AAAAB3NzaC1kc3MAAAA",
    ],
)
def test_what_is_no_rsa_or_ed25519_key_is_refused(ec2: Any, material: bytes) -> None:
    with pytest.raises(ClientError) as caught:
        ec2.import_key_pair(KeyName="mine", PublicKeyMaterial=material)
    assert code(caught) == "InvalidKey.Format"
    assert ec2.describe_key_pairs()["KeyPairs"] == []


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl computes the expected value")
def test_a_created_rsa_key_has_the_sha1_of_its_private_key(ec2: Any) -> None:
    created = ec2.create_key_pair(KeyName="made")
    private = load_pem_private_key(created["KeyMaterial"].encode(), None)
    assert isinstance(private, rsa.RSAPrivateKey)
    assert private.key_size == 2048
    der = subprocess.run(
        ["openssl", "pkcs8", "-topk8", "-nocrypt", "-outform", "DER"],
        input=created["KeyMaterial"].encode(),
        capture_output=True,
        check=True,
    ).stdout
    digest = subprocess.run(
        ["openssl", "sha1", "-c"], input=der, capture_output=True, check=True
    ).stdout
    assert digest.decode().split()[-1] == created["KeyFingerprint"]


def test_a_created_private_key_fits_its_public_key_and_is_not_kept(
    endpoint: Endpoint, ec2: Any
) -> None:
    created = ec2.create_key_pair(KeyName="made", KeyType="ed25519")
    private = load_ssh_private_key(created["KeyMaterial"].encode(), None)
    described = ec2.describe_key_pairs(IncludePublicKey=True)["KeyPairs"][0]
    assert openssh(private.public_key()).decode() == described["PublicKey"].rpartition(" ")[0]
    secret = created["KeyMaterial"].splitlines()[2].encode()
    for file in endpoint.settings.state_dir.glob("condor-cloud.db*"):
        # By another process: closing the file in this one would free SQLite's locks on it, and
        # the next program that leaves the database would take its log away.
        kept = subprocess.run(["cat", file], capture_output=True, check=True).stdout
        assert secret not in kept


def test_key_pairs_are_found_by_name_id_filter_and_tag(ec2: Any) -> None:
    tags = [{"ResourceType": "key-pair", "Tags": [{"Key": "team", "Value": "blue"}]}]
    first = ec2.import_key_pair(KeyName="a", PublicKeyMaterial=RSA, TagSpecifications=tags)
    second = ec2.import_key_pair(KeyName="b", PublicKeyMaterial=ED25519)
    assert first["Tags"] == [{"Key": "team", "Value": "blue"}]

    def names(**parameters: Any) -> list[str]:
        found = ec2.describe_key_pairs(**parameters)["KeyPairs"]
        return [pair["KeyName"] for pair in found]

    assert names() == ["a", "b"]
    assert names(KeyNames=["b"]) == ["b"]
    assert names(KeyPairIds=[second["KeyPairId"]]) == ["b"]
    assert names(Filters=[{"Name": "key-name", "Values": ["?"]}]) == ["a", "b"]
    assert names(Filters=[{"Name": "tag:team", "Values": ["b*"]}]) == ["a"]
    assert names(Filters=[{"Name": "tag-key", "Values": ["none"]}]) == []


def test_unknown_key_pairs_are_named(ec2: Any) -> None:
    with pytest.raises(ClientError, match="'x, y' does not exist") as caught:
        ec2.describe_key_pairs(KeyNames=["x", "y"])
    assert code(caught) == "InvalidKeyPair.NotFound"


def test_a_name_is_taken_once(ec2: Any) -> None:
    ec2.import_key_pair(KeyName="mine", PublicKeyMaterial=RSA)
    with pytest.raises(ClientError) as caught:
        ec2.create_key_pair(KeyName="mine")
    assert code(caught) == "InvalidKeyPair.Duplicate"


@pytest.mark.parametrize("name", ["", " a", "a\nssh-rsa AAAA", "ä", "x" * 256])
def test_names_that_would_not_fit_one_line_of_ascii_are_refused(ec2: Any, name: str) -> None:
    with pytest.raises(ClientError) as caught:
        ec2.import_key_pair(KeyName=name, PublicKeyMaterial=RSA)
    assert code(caught) in {"InvalidParameterValue", "MissingParameter"}


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"KeyFormat": "jks"}, "InvalidParameterValue"),
        ({"KeyType": "dsa"}, "InvalidParameterValue"),
        (
            {"TagSpecifications": [{"ResourceType": "instance", "Tags": []}]},
            "InvalidParameterValue",
        ),
    ],
)
def test_key_pairs_that_are_not_made_are_refused(
    ec2: Any, parameters: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ClientError) as caught:
        ec2.create_key_pair(KeyName="made", **parameters)
    assert code(caught) == expected
    assert ec2.describe_key_pairs()["KeyPairs"] == []


def test_a_deleted_key_pair_is_gone_and_deleting_it_again_is_fine(ec2: Any) -> None:
    made = ec2.import_key_pair(KeyName="mine", PublicKeyMaterial=RSA)
    assert ec2.delete_key_pair(KeyPairId=made["KeyPairId"])["Return"]
    assert ec2.describe_key_pairs()["KeyPairs"] == []
    assert ec2.delete_key_pair(KeyName="mine")["Return"]
    with pytest.raises(ClientError) as caught:
        ec2.delete_key_pair()
    assert code(caught) == "MissingParameter"


def test_accounts_do_not_see_each_other_s_key_pairs(endpoint: Endpoint, ec2: Any) -> None:
    made = ec2.import_key_pair(KeyName="mine", PublicKeyMaterial=RSA)
    other = endpoint.client(endpoint.new_key())
    assert other.describe_key_pairs()["KeyPairs"] == []
    other.delete_key_pair(KeyPairId=made["KeyPairId"])
    with pytest.raises(ClientError):
        other.describe_key_pairs(KeyPairIds=[made["KeyPairId"]])
    assert len(ec2.describe_key_pairs()["KeyPairs"]) == 1


def test_deleting_by_id_and_by_name_at_once_is_refused(ec2: Any) -> None:
    pair = ec2.create_key_pair(KeyName="one")
    with pytest.raises(ClientError) as caught:
        ec2.delete_key_pair(KeyPairId=pair["KeyPairId"], KeyName="two")
    assert code(caught) == "InvalidParameterCombination"
    assert [each["KeyName"] for each in ec2.describe_key_pairs()["KeyPairs"]] == ["one"]
