# SPDX-License-Identifier: Apache-2.0
"""Numbers for the operators of a pool, in Prometheus's text format, on a port of their own.

What the database knows is read from it at each scrape; what only the EC2 endpoint's workers know is
counted by them in files (prometheus_client's multiprocess mode) that the metrics process adds up.
Nothing here calls HTCondor: what nodes tell of their caches, the reconciler writes down.
"""
