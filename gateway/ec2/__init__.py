# SPDX-License-Identifier: Apache-2.0
"""EC2's actions: one function each, in one file for each kind of resource.

A function is named as its action and its keyword parameters are spelled as botocore spells the
members of the action's input: the signature says what is honoured. It returns the output shape as
a dictionary. What may be done is decided in ``gateway.cloud``; this package translates.
"""
