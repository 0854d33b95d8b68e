"""Measurements that anyone can repeat: ``python -m halo_vis bench viewer``."""
