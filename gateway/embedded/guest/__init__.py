# SPDX-License-Identifier: Apache-2.0
"""The demo guest: a disk image made from Debian's kernel, busybox and dropbear."""
