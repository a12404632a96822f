# SPDX-License-Identifier: Apache-2.0
"""The embedded pool: a Debian tree with HTCondor, libvirt and QEMU in it."""
