# SPDX-License-Identifier: Apache-2.0
"""The node link: what nodes ask of the gateway, over HTTPS, each with a token of its own.

Job ads can be read by everybody in the pool, so user data and keys travel here and only here.
"""
