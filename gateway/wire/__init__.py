# SPDX-License-Identifier: Apache-2.0
"""The EC2 query protocol: forms in, XML out, both along botocore's model of EC2.

Nothing here knows an action by name, and nothing outside this package imports botocore.
"""
