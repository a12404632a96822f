# SPDX-License-Identifier: Apache-2.0
"""The rules of the cloud in plain words: what may be done with what, and what follows.

Nothing here knows EC2's spelling, HTTP, SQL or HTCondor; front ends call in, the store is called.
Each function works within the transaction of the connection that it is given.
"""
