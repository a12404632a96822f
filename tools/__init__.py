# SPDX-License-Identifier: Apache-2.0
"""What is run in a checkout and is not part of either wheel."""
