"""quiesce as a plugin of Cloudify: the same planners and the same engine, over Cloudify's own tasks.

`workflows` is what ``plugin.yaml`` names; `operations` makes ``quiesce.<provider>.<operation>`` importable
for blueprints, for every provider that is installed. Only this package imports cloudify-common, and never
where it is not needed.
"""
