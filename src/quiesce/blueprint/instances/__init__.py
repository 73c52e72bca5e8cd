"""Instances: the nodes of a blueprint as running copies.

Those of a new deployment are made from the blueprint (`instantiation`); those of a deployment that Cloudify
installed are read from the local profile of ``cfy`` (`local_profile`).
"""
