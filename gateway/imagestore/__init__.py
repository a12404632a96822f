# SPDX-License-Identifier: Apache-2.0
"""The image store: where disk images come from, how they are looked at, and where they lie.

sources      opens what a location names: a file or an http(s) address
web          opens http and https addresses
networks     says where tenants may have images fetched from
stores       the store that the settings name
objects      a store behind a URL
store        keeps whole files under the SHA-256 of their bytes
headers      reads what a file says it is, without help
qemu_img     asks qemu-img, confined
inspection   both together: may this image be trusted?
formats      says which disks of other programs are whole by themselves
ova          finds the first disk in an OVA
conversion   makes one of them usable here
taker        one location: copy, convert, look, keep
progress     writes down how far an import task is
importer     the process that takes pending images in, and removes bytes nobody needs
"""
