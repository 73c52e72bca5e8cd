"""Domains: frozen through their agent, cut, copied, put back and removed with all their disks."""
