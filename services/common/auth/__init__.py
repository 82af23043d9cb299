"""Who calls, and whether they may: keys, scopes, projects, checked in every service around every call.

A caller presents ``authorization: Bearer KEY``. The gateway passes its callers' keys on. Services among themselves present the
suite's service token, and say on whose behalf.
"""
