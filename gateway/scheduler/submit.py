# SPDX-License-Identifier: Apache-2.0
"""The submit description of instances: pure, from a request to HTCondor's own terms."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.scheduler.protocol import LaunchRequest, Zoning

# What QEMU takes beside the guest's own memory, in MiB.
MEMORY_OVERHEAD_MIB = 64
# What is beside the disk's bytes: the console, and the overlay's own tables.
DISK_OVERHEAD_KIB = 4 * 1024
_TABLES = 1024  # one byte for so many
# What a node tells of its cache, after CondorCloudCache; in the order of protocol.CacheReport.
CACHE_NUMBERS = (
    *("Bytes", "Limit", "Hits", "Misses", "Evictions", "DownloadedBytes"),
    "DownloadSeconds",
)
INSTANCE_VARIABLE = "CondorCloudInstance"
PROJECTION = (
    "ClusterId",
    "ProcId",
    "JobStatus",
    "HoldReason",
    "RemoteHost",
    "PublicClaimId",
    "CondorCloudInstanceId",
    "CondorCloudRun",
)


def description(request: LaunchRequest, supervisor: str) -> dict[str, str]:
    """Return the submit description for a request; one proc for each of :func:`items`.

    No secret is in it: job ads can be read by everybody in the pool.
    """
    return {
        "universe": "vanilla",
        "executable": supervisor,
        "transfer_executable": "false",
        "should_transfer_files": "NO",
        "initialdir": "/",
        "arguments": f'"--instance $({INSTANCE_VARIABLE}) --run {request.run}"',
        "request_cpus": str(request.vcpus),
        "request_memory": str(request.memory_mib + MEMORY_OVERHEAD_MIB),
        "request_disk": str(disk_kib(request.disk_bytes)),
        # Naming FileSystemDomain, Arch and OpSys keeps the submitting machine's own from being
        # required: the supervisor lives on the nodes, and the guest brings its own system.
        "requirements": (
            "TARGET.CondorCloudNode =?= true && TARGET.FileSystemDomain =!= undefined"
            ' && TARGET.Arch == "X86_64" && TARGET.OpSys == "LINUX"'
        )
        + (" && TARGET.CondorCloudUefi =?= true" if request.uefi else "")
        + _at_home(request.home)
        + _in_zone(request.zone),
        # A node that has the image already starts it seconds or minutes sooner.
        "rank": (
            "ifThenElse(isUndefined(TARGET.CondorCloudCachedImages), 0, "
            "ifThenElse(stringListMember(CondorCloudImageSha256,"
            " TARGET.CondorCloudCachedImages), 2, 0))"
        )
        + _nearest(request.zone),
        # The supervisor tells of its guest through the job's event log (condor_chirp ulog).
        "My.WantRemoteUpdates": "true",
        "My.CondorCloudInstanceId": quoted(f"$({INSTANCE_VARIABLE})"),
        "My.CondorCloudGatewayId": quoted(request.gateway_id),
        "My.CondorCloudReservationId": quoted(request.reservation_id),
        "My.CondorCloudAccountId": quoted(request.account_id),
        "My.CondorCloudRun": str(request.run),
        "My.CondorCloudImageSha256": quoted(request.image_sha256),
        "batch_name": request.reservation_id,
        "priority": str(request.priority),
        # A second start would be another machine under the same id: once started, a job that is
        # idle again has lost its node.
        "periodic_remove": "JobStatus == 1 && NumJobStarts > 0",
        "want_graceful_removal": "true",
        "kill_sig": "SIGTERM",
        "job_max_vacate_time": "30",
        "notification": "never",
    }


def disk_kib(disk_bytes: int) -> int:
    """Return the KiB that an instance may fill on its node, in the worst case.

    The image under the overlay is the cache's, which makes room for itself within its own bounds.
    """
    return -(-disk_bytes // 1024) + -(-disk_bytes // (1024 * _TABLES)) + DISK_OVERHEAD_KIB


def _at_home(home: str | None) -> str:
    """Return the requirement of the node that has the disks."""
    return "" if home is None else f" && TARGET.CondorCloudNodeName =?= {quoted(home)}"


def _in_zone(zone: Zoning | None) -> str:
    """Return the requirement of the zone that was asked for."""
    return f" && {_belongs(zone)}" if zone is not None and zone.required else ""


def _nearest(zone: Zoning | None) -> str:
    """Return what a node of the expected zone is worth: less than one that has the image."""
    if zone is None or zone.required:
        return ""
    return f" + ifThenElse({_belongs(zone)}, 1, 0)"


def _belongs(zone: Zoning) -> str:
    # The node's configuration has an empty text where its administrator names no zone.
    names = [quoted(zone.name)] + (["undefined", '""'] if zone.default else [])
    return "(" + " || ".join(f"TARGET.CondorCloudZone =?= {name}" for name in names) + ")"


def items(request: LaunchRequest) -> list[dict[str, str]]:
    """Return what differs between the procs of one cluster."""
    return [{INSTANCE_VARIABLE: instance_id} for instance_id in request.instance_ids]


def quoted(text: str) -> str:
    """Return ``text`` as a ClassAd string literal; control characters are refused."""
    if any(ord(character) < 0x20 for character in text):
        raise ValueError("a ClassAd string literal cannot hold control characters")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def constraint(gateway_id: str | None, reservation_id: str | None) -> str:
    """Return the ClassAd expression that selects jobs: all, a gateway's, a reservation's."""
    parts = ["CondorCloudGatewayId =!= undefined"]
    if gateway_id is not None:
        parts = [f"CondorCloudGatewayId =?= {quoted(gateway_id)}"]
    if reservation_id is not None:
        parts.append(f"CondorCloudReservationId =?= {quoted(reservation_id)}")
    return " && ".join(parts)
