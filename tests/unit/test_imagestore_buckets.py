# SPDX-License-Identifier: Apache-2.0
"""Images that are taken out of S3 buckets."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import s3_servers
from imagestore_world import DIGEST, DISK, MIB, World, now
from s3_servers import BUCKET, KEY, LOCATION, answering, world_at

from gateway.cloud import images as rules
from gateway.cloud.errors import Invalid
from gateway.cloud.image_sources import ImageSources
from gateway.config import SettingsError, load
from gateway.imagestore import sources
from gateway.imagestore.importer import add_file
from gateway.imagestore.taker import ImportFailedError, Nobody
from gateway.store import database

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator


@pytest.fixture(scope="module", params=s3_servers.SERVERS)
def s3_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    with s3_servers.serving(request.param, tmp_path_factory.mktemp("objects"), BUCKET) as url:
        s3_servers.client(url).put_object(Bucket=BUCKET, Key=KEY, Body=DISK)
        s3_servers.client(url).put_object(Bucket=BUCKET, Key="private/other", Body=DISK)
        yield url


@pytest.fixture
def world(tmp_path: Path, s3_url: str) -> World:
    return world_at(tmp_path / "world", s3_url)


def test_an_object_becomes_an_image(world: World) -> None:
    image = world.register(LOCATION)
    world.import_all()
    assert (world.image(image).state, world.image(image).sha256) == ("available", DIGEST)
    assert world.image(image).location == LOCATION


def test_an_administrator_may_name_any_bucket(world: World) -> None:
    new = rules.NewImage("any", f"s3://{BUCKET}/private/other")
    made, content = add_file(world.settings, world.account, new, Nobody())
    assert (made.state, content.sha256) == ("available", DIGEST)


@pytest.mark.parametrize("key", ["public/nothing", "public", "public/deb"])
def test_an_object_that_is_not_there_fails_the_image_at_once(world: World, key: str) -> None:
    image = world.register(f"s3://{BUCKET}/{key}")
    world.importer._settings = dataclasses.replace(world.settings, image_source_buckets=BUCKET)
    world.import_all()
    assert world.image(image).state == "failed"
    assert world.image(image).state_reason == "The image's bucket has no such object."


def test_a_bucket_that_is_allowed_no_longer_is_not_read(world: World) -> None:
    image = world.register(f"s3://{BUCKET}/private/other")
    world.import_all()
    assert world.image(image).state == "failed"
    assert "is in no bucket from which" in str(world.image(image).state_reason)


def test_the_rest_of_a_copy_that_was_cut_is_asked_for(
    request: pytest.FixtureRequest, world: World
) -> None:
    file = world.settings.image_source_options
    with sources.opened(LOCATION, sources.ANYTHING, None, file) as whole:
        assert (whole.size, whole.begin) == (len(DISK), 0)
        assert b"".join(whole.chunks(float("inf"))) == DISK
    assert whole.version is not None
    here = sources.Part(MIB + 1, whole.version)
    with sources.opened(LOCATION, sources.ANYTHING, here, file) as rest:
        assert b"".join(rest.chunks(float("inf"))) == DISK[rest.begin :]
    # rclone calls the rest 200 and not 206 (RFC 9110, 15.3.7), so it is asked for the whole.
    assert rest.begin == (0 if "rclone" in request.node.callspec.id else MIB + 1)
    with sources.opened(LOCATION, sources.ANYTHING, sources.Part(MIB, '"other"'), file) as anew:
        assert anew.begin == 0
        assert b"".join(anew.chunks(float("inf"))) == DISK


def test_a_server_that_lets_nobody_in_says_nothing_of_itself(
    request: pytest.FixtureRequest, world: World
) -> None:
    options = Path(world.settings.image_source_options)
    options.write_text(options.read_text().replace('"secret"', '"wrong"'))
    image = world.register(LOCATION)
    world.import_all()
    if "rclone" in request.node.callspec.id:
        told = "The image's bucket does not let the gateway in."
        assert (world.image(image).state, world.image(image).state_reason) == ("failed", told)
    else:  # moto takes any signature
        assert world.image(image).state == "available"


@pytest.mark.parametrize(
    "text",
    [
        *("no toml", 'color = "red"', 'endpoint = ""', 'endpoint = "nonsense"', "endpoint = 1"),
        *('endpoint = "ftp://host"', 'endpoint = "http://"', 'skip_signature = "yes"'),
        *('endpoint = "http://h:99999"', 'endpoint = "http://h:x"', 'endpoint = "http://%zz"'),
        *('endpoint = "http://a b"', 'endpoint = " http://a"', 'endpoint = "http://a\\n"'),
        *(
            'endpoint = "http://u:hunter2@a"',
            'endpoint = "http://a/?b"',
            'endpoint = "http://a/#b"',
        ),
        *('region = "eu\\n"', 'access_key_id = "alone"', 'secret_access_key = "alone"'),
        'session_token = "alone"',
    ],
)
def test_options_that_cannot_be_used_are_the_administrators_affair(
    tmp_path: Path, text: str
) -> None:
    world = world_at(tmp_path / "world", "http://127.0.0.1")
    Path(world.settings.image_source_options).write_text(text)
    with pytest.raises(ImportFailedError, match="setting image_source_options cannot be used"):
        add_file(world.settings, world.account, rules.NewImage("name", LOCATION), Nobody())


def test_a_key_is_never_taken_for_a_bucket(
    world: World, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3_servers.client(s3_url).create_bucket(Bucket="payroll")
    s3_servers.client(s3_url).put_object(Bucket="payroll", Key="secret", Body=DISK)
    world.importer._settings = dataclasses.replace(world.settings, image_source_buckets=BUCKET)
    monkeypatch.setenv("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "true")
    by_environment = world.register(f"s3://{BUCKET}/payroll/secret")
    world.import_all()
    options = Path(world.settings.image_source_options)
    options.write_text(options.read_text() + "virtual_hosted_style_request = true\n")
    by_option = world.register(f"s3://{BUCKET}/payroll/secret")
    world.import_all()
    assert world.image(by_environment).state_reason == "The image's bucket has no such object."
    told = "The setting image_source_options cannot be used."
    assert world.image(by_option).state_reason == told


@contextlib.contextmanager
def recording(heads: list[str]) -> Iterator[str]:
    """Serve nothing, and keep the heads of what is asked."""

    def answer(connection: socket.socket) -> None:
        with connection:
            heads.append(connection.recv(65536).decode("latin-1"))
            connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    with answering(answer) as url:
        yield url


def test_what_the_environment_says_of_s3_goes_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    elsewhere: list[str] = []
    with recording(asked) as url, recording(elsewhere) as other:
        monkeypatch.setenv("AWS_ENDPOINT_URL", other)
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", other)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENVIRONMENT")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "environment")
        monkeypatch.setenv("AWS_SESSION_TOKEN", "environments-token")
        monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
        world = world_at(tmp_path / "world", url)
        world.register(LOCATION)
        world.import_all()
        keyless = Path(world.settings.image_source_options)
        keyless.write_text(f'endpoint = "{url}"\n')
        refused = world.register(LOCATION)
        world.import_all()
    assert elsewhere == []
    assert len(asked) == 1
    assert asked[0].startswith(f"GET /{BUCKET}/public/")
    assert "Credential=key/" in asked[0]
    assert "ENVIRONMENT" not in asked[0].upper()
    told = "The setting image_source_options cannot be used."
    assert world.image(refused).state_reason == told


ALLOWED = ImageSources.of("", "disks/public, other.bucket/")


@pytest.mark.parametrize(
    ("location", "problem"),
    [
        ("s3://disks/public/a", None),
        ("S3://disks/public/a/b c", None),
        ("s3://other.bucket/anything", None),
        ("s3://disks/public", "no bucket from which"),
        ("s3://disks/publicity/a", "no bucket from which"),
        ("s3://disks/private/a", "no bucket from which"),
        ("s3://nobodys/a", "no bucket from which"),
        ("s3://disks/public/../private/a", "not of the form"),
        ("s3://disks/public/./a", "not of the form"),
        ("s3://disks//public/a", "not of the form"),
        ("s3://disks/public/", "not of the form"),
        ("s3://disks", "not of the form"),
        ("s3://", "not of the form"),
        ("s3:///public/a", "not of the form"),
        ("s3://Disks/public/a", "not of the form"),
        ("s3://user:secret@disks/public/a", "not of the form"),
    ],
)
def test_a_tenant_may_name_the_objects_that_the_setting_names(
    tmp_path: Path, location: str, problem: str | None
) -> None:
    world = World(tmp_path)

    def register() -> str:
        new = rules.NewImage("image", location)
        with database.writing(world.engine) as db:
            made = rules.register(db, world.account, new, tagged={}, now=now(), sources=ALLOWED)
        return made.location

    if problem is None:
        assert register() == location.replace("S3:", "s3:")
    else:
        with pytest.raises(Invalid, match=problem):
            register()


@pytest.mark.parametrize("given", ["Disks", "a", "disks,/tmp", "disks/x,s3://other"])
def test_a_setting_that_names_no_bucket_is_refused(given: str) -> None:
    with pytest.raises(SettingsError, match="image_source_buckets"):
        load(Path("/dev/null"), {"CONDOR_CLOUD_IMAGE_SOURCE_BUCKETS": given})
