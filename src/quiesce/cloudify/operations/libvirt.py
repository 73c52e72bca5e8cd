"""``quiesce.libvirt.<operation>`` for blueprints inside Cloudify."""

from quiesce.cloudify.operation import offered_by

freeze, thaw, suspend, resume, snapshot, apply, delete, measure = offered_by("libvirt")
