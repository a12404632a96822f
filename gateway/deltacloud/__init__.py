# SPDX-License-Identifier: Apache-2.0
"""The Deltacloud REST API (1.1): a view over gateway.cloud, without rules of its own."""
