# SPDX-License-Identifier: Apache-2.0
"""Measurements beside a yardstick in the same run. They assert nothing."""
