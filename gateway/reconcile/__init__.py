# SPDX-License-Identifier: Apache-2.0
"""The reconciler: makes the pool what the database wants, and the database what the pool is.

Two threads. ``loop`` submits, removes and looks; ``follower`` reads HTCondor's event log.
"""
