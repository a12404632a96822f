# SPDX-License-Identifier: Apache-2.0
"""HTCondor as the gateway sees it: what is submitted, what is heard, who may call it.

``protocol`` says what the reconciler may ask; ``submit`` and ``events`` are pure; ``condor`` runs
``broker`` in a process of its own, the one place that imports htcondor2.
"""
